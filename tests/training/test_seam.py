"""What stage 3 changes of TRL fits the installed release; where it does not fit, TRL itself trains, and a sentence says why."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trl
from packaging.requirements import Requirement
from packaging.version import Version

from emocaliber.errors import UserError
from emocaliber.training.config import DECOUPLED
from emocaliber.training.seam import METHODS, RolloutTable, SharedPrefixMixin, misfit
from small_grpo import SENTENCE, steps_of, trainer_of

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def without(name: str) -> Any:
    """TRL's trainer as a release without the method `name` would have it."""
    return SimpleNamespace(**{each: getattr(trl.GRPOTrainer, each) for each in METHODS if each != name})


def changed(name: str, method: Callable[..., Any]) -> Any:
    return SimpleNamespace(**vars(without(name)) | {name: method})


def test_the_overrides_fit_the_installed_release() -> None:
    assert misfit(trl.GRPOTrainer) is None


def test_the_overridden_methods_are_those_that_are_checked() -> None:
    private = {name for name, value in vars(SharedPrefixMixin).items() if inspect.isfunction(value) and hasattr(trl.GRPOTrainer, name)}
    assert private - {"__init__"} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_gone_is_named(name: str) -> None:
    assert misfit(without(name)) == f"TRL {trl.__version__} has no method {name}"


@pytest.mark.parametrize(
    "method",
    [
        lambda self, prompt_ids, images, multimodal_fields, has_tool_images=False: None,  # as in TRL 1.13
        lambda self, images, prompt_ids, multimodal_fields, num_generations: None,
    ],
    ids=["fewer", "in another order"],
)
def test_a_method_with_other_parameters_is_named_with_both_lists(method: Callable[..., Any]) -> None:
    reason = misfit(changed("_generate_single_turn", method))
    assert reason is not None
    assert "_generate_single_turn" in reason and "(prompt_ids, images, multimodal_fields, num_generations) are needed" in reason


def test_further_parameters_do_no_harm() -> None:
    def newer(
        self: Any, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: Any, has_tool_images: Any, more: Any
    ) -> None:
        """As a later release may have it."""

    assert misfit(changed("_generate_single_turn", newer)) is None


def test_a_function_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("trl.trainer.utils.add_fused_lm_head")
    assert misfit(trl.GRPOTrainer) == f"TRL {trl.__version__} has no function add_fused_lm_head"


@pytest.mark.slow
def test_a_release_that_does_not_fit_trains_by_itself_after_a_sentence(
    processor: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = steps_of(trainer_of(processor, tmp_path, shared_prefix=False))
    monkeypatch.setattr("emocaliber.training.stage3.misfit", lambda trainer: "TRL 9.9 calls _compute_loss with (batch)")
    trainer = trainer_of(processor, tmp_path)
    assert not isinstance(trainer, SharedPrefixMixin)
    assert f"stage 3 {SENTENCE}: TRL 9.9 calls _compute_loss with (batch)" in capfd.readouterr().err
    logs, _ = steps_of(trainer)
    assert logs[0]["loss"] == pytest.approx(plain[0][0]["loss"], abs=1e-5)
    assert trainer.rollout_table() is not None, "roll-outs are logged all the same"


@pytest.mark.slow
def test_an_error_on_two_rows_leaves_the_computation_to_trl(
    processor: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise TypeError("forward() got an unexpected keyword argument 'shift_labels'")

    monkeypatch.setattr("emocaliber.training.seam.group_logps", broken)
    logs, _ = steps_of(trainer_of(processor, tmp_path))
    assert "on two rows at the start, TypeError: forward() got an unexpected keyword argument 'shift_labels'" in capfd.readouterr().err
    assert logs


def test_decoupled_credit_stops_with_the_reason(processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from emocaliber.training.stage3 import grpo_trainer

    monkeypatch.setattr("emocaliber.training.stage3.misfit", lambda trainer: "TRL 9.9 is another")
    with pytest.raises(UserError, match=r"needs groups that are read as one sequence: TRL 9\.9 is another"):
        grpo_trainer(credit=DECOUPLED)


def test_a_release_that_keeps_no_table_of_rollouts_has_none() -> None:
    assert RolloutTable().rollout_table() is None


@pytest.mark.parametrize("package", ["trl", "transformers"])
def test_the_installed_release_is_within_the_range_of_the_package(package: str) -> None:
    [wanted] = [Requirement(text) for text in PYPROJECT.read_text("utf-8").split('"') if text.startswith(f"{package}>=")]
    assert Version(import_module(package).__version__) in wanted.specifier


@pytest.mark.skipif("EMOCALIBER_RELEASE" not in os.environ, reason="`make test-releases` says which release is meant")
def test_the_release_that_is_meant_is_the_one_that_is_tested() -> None:
    package, _, release = os.environ["EMOCALIBER_RELEASE"].partition("==")
    assert import_module(package).__version__ == release == version(package)
