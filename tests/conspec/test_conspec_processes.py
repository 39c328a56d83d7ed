"""What processes of a search ask of the machine: no network, and no more memory from trial to trial."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..house import House
from .study_runs import config

REFUSING = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind"):
        if event == "socket.getaddrinfo" or arguments[0].family.name in ("AF_INET", "AF_INET6"):
            open({path!r}, "a").write(f"{{event}} {{arguments}} {{sys.argv}}\\n")
            raise PermissionError("there is no network")
sys.addaudithook(refuse)
"""
FIVE_TRIALS = """
import json, sys
from quintet.jobs.conspec import train
from quintet.jobs.conspec.trial import peak_rss_mb
arguments, peaks = json.loads(sys.argv[1]), []
for _ in range(5):
    train({}, (101, 0, 0), **arguments)
    peaks.append(peak_rss_mb())
print(peaks)
"""
EAGER = {"criterion_margin": -2.0, "score_threshold": -1.0, "criterion_patience": 2}
SHORT = {"world": "double", "family": "delayed", "episodes": 60, "agent": EAGER}


def test_a_search_asks_for_no_network(house: House, tmp_path: Path) -> None:
    tried, guard, path, run = (tmp_path / name for name in ("tried", "guard", "small.yaml", "out"))
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(REFUSING.format(path=str(tried)))
    path.write_text(yaml.safe_dump(config(study="conspec"), sort_keys=False))
    flags = ("--config", path, "--n-trials", 2, "--ablation", 1, "--output-dir", run, "--tracker", "jsonl")
    house("study", "conspec", *flags, PYTHONPATH=f"{guard}:{house.folder}")
    assert not tried.exists(), tried.read_text()
    for number in range(2):
        folder = run / "tracking" / "single" / f"trial_{number:05d}"
        assert {entry.name for entry in folder.iterdir()} == {"config.json", "history.jsonl", "summary.json"}
    asks = "import socket; socket.create_connection(('127.0.0.1', 9))"
    refused = subprocess.run(
        [sys.executable, "-c", asks], env=house.environment(PYTHONPATH=str(guard)), capture_output=True, text=True
    )
    assert "there is no network" in refused.stderr and tried.exists()


@pytest.mark.parametrize(
    "arguments", [SHORT, pytest.param({"world": "single", "episodes": 2500}, marks=pytest.mark.slow)]
)
def test_five_trials_in_one_process_do_not_grow(arguments: dict[str, Any]) -> None:
    command = [sys.executable, "-c", FIVE_TRIALS, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, *others = json.loads(done.stdout)
    assert max(others) <= 1.05 * first
