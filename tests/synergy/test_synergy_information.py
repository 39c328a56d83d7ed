"""Decompositions of outputs that one input tells alone, or either of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quintet.jobs.synergy import information

from .samples import assert_close, golden

CASES = [case for case in golden("information")["pid_of_outputs"] if "XOR" not in case["name"]]


def joint_of(case: dict[str, Any]) -> np.ndarray:
    """p(size, u, T) of a case: T is u, and size is u too where it is redundant."""
    joint = np.zeros((8, 8, 8))
    for u in range(8):
        if "redundancy" in case["name"]:
            joint[u, u, u] = 1.0 / 8.0
        else:
            joint[:, u, u] = 1.0 / 64.0
    return joint


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"])[:40])
def test_outputs_of_one_or_both_inputs_are_decomposed_exactly(case: dict[str, Any]) -> None:
    found = information.pid(joint_of(case))
    assert_close(found, {key: case[key] for key in found}, 1e-9)
