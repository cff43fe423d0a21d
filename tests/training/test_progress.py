from __future__ import annotations

from emocaliber.training.progress import log_line


def test_a_log_entry_becomes_one_readable_line() -> None:
    supervised = {"loss": 0.1975, "grad_norm": 0.5412, "learning_rate": 4.603e-4, "epoch": 0.33}
    assert log_line(supervised, 4, 12) == "step 4 of 12: loss 0.1975, gradient norm 0.54, learning rate 0.00046"
    assert log_line(supervised, 4, 12, "stage1").startswith("stage1: step 4 of 12: loss")
    rollouts = {"loss": 3e-7, "reward": 0.0735, "kl": 3.7e-5, "rollouts/malformed": 0.25, "completions/mean_length": 97.94, "unknown": "x"}
    assert log_line(rollouts, 5, 6) == "step 5 of 6: reward 0.073, KL 3.7e-05, malformed 25 %, length 98"
    assert log_line({"train_runtime": 12.95, "train_samples_per_second": 14.82}, 12, 12) == "trained for 13 s, 14.8 samples a second"
