"""The shell around an element tells the true exit code, whenever a signal comes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
JOB = """\
run={folder} phase=p map= offset=0 max_restarts=0 threads=1 time_s= scratch={folder} modules=()
log_folder={folder}/logs log_name={number}
. {project}/slurm/environment.sh
job=$$
(sleep {delay}; kill -TERM $job 2>/dev/null) &
. {project}/slurm/element.sh
"""
SHARD = """\
#!/bin/bash
[ "$1" = -c ] && exec {python} "$@"
trap '' TERM
[ "$QUINTET_DEADLINE" = 1 ] && exit 0
sleep 0.2
exit 0
"""


def started(folder: Path, number: int, delay: float) -> subprocess.Popen[bytes]:
    """Start an element whose shard takes 0.2 s and that gets TERM after `delay` seconds."""
    text = JOB.format(folder=folder, project=PROJECT, number=number, delay=delay)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("SLURM")},
        "SLURM_ARRAY_JOB_ID": "1",
        "SLURM_ARRAY_TASK_ID": str(number),
        "SLURM_JOB_END_TIME": "9999999999",
        "QUINTET_PYTHON": str(folder / "python"),
    }
    return subprocess.Popen(["bash", "-c", text], env=environment, stderr=subprocess.PIPE)


@pytest.mark.slurm
def test_a_signal_at_the_end_of_a_shard_does_not_lose_its_code(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(SHARD.format(python=sys.executable))
    python.chmod(0o755)
    for turn in range(8):  # bash 5.2 loses the code of about one in sixty
        elements = [started(tmp_path, 8 * turn + k, 0.19 + 0.002 * (8 * turn + k)) for k in range(8)]
        for element in elements:
            element.communicate(timeout=60)
        assert [element.returncode for element in elements] == [0] * len(elements)
    assert list((tmp_path / "logs").glob("*.log")) == []
    assert list(tmp_path.glob("quintet.*")) == []
