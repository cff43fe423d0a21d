"""deploy/ray_serve.py: two replicas behind one address, of which one is killed; and what it says without Ray."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, signal, sys, time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx2
import ray
from ray import serve

from deploy.ray_serve import app
from serving_servers import picture, post

mark = f"EMOCALIBER_TEST={os.getpid()}"
shared = {"PYTHONPATH": os.environ["PYTHONPATH"], "OMP_NUM_THREADS": "1", "EMOCALIBER_TEST": str(os.getpid())}
ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": shared})
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(app({"model": "tiny", "replicas": "2"}))
url = f"http://127.0.0.1:{sys.argv[1]}"
pictures = [picture(seed) for seed in range(24)]

def answers():
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda data: post(url, data), pictures))

def replicas():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name, env = open(f"/proc/{pid}/cmdline").read(), open(f"/proc/{pid}/environ").read()
        except OSError:
            continue
        if name.startswith("ray::ServeReplica") and mark in env.split("\\0"):
            found.append(int(pid))
    return found

first = answers()
assert [each.status_code for each in first] == [200] * len(pictures), first
rows = [each.json()["predictions"][0] for each in first]
starts = {line for _ in range(20) for line in httpx2.get(f"{url}/metrics").text.splitlines() if line.startswith("process_start_time")}
assert len(starts) == 2, "both replicas answer"
assert len(replicas()) == 2
os.kill(replicas()[0], signal.SIGKILL)
until = time.monotonic() + 90
while time.monotonic() < until and len(replicas()) < 2:
    time.sleep(0.2)
for data, row in zip(pictures, rows):
    while (again := post(url, data)).status_code >= 500 and time.monotonic() < until:
        time.sleep(0.5)
    assert again.status_code == 200, again.text
    assert again.json()["predictions"][0]["alternatives"][0]["emotion"] == row["alternatives"][0]["emotion"]
assert httpx2.post(f"{url}/v1/systemone", json={}).status_code == 422
serve.shutdown()
ray.shutdown()
print("two replicas")
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_two_replicas_answer_and_one_that_is_killed_is_replaced(tmp_path: Path) -> None:
    from emocaliber.serving.server import bound_socket

    with bound_socket("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    places = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "tests")))
    own = {
        "PYTHONPATH": places,
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(port)], env=os.environ | own, capture_output=True, text=True, timeout=400)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-6000:]
    assert ran.stdout.endswith("two replicas\n")


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_what_to_install() -> None:
    ran = subprocess.run([sys.executable, str(ROOT / "deploy" / "ray_serve.py")], capture_output=True, text=True)
    assert ran.returncode == 1 and ran.stderr == "this deployment needs Ray Serve: pip install 'ray[serve]'\n"
