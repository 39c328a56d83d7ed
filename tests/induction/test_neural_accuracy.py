"""Fitted values are as near to the exact ones as promised; without one of its parts a training does worse."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quintet.jobs.induction import Params, build, freed_first, solve
from quintet.jobs.induction.neural import Fitted, NeuralConfig, Training, errors, fit, tabulate
from quintet.jobs.induction.neural.ablations import NoBound, NoWarmStart, RandomRows

from .golden_files import golden_world

FREEING, SIMPLE = "asymmetric_freeing_11x6", "asymmetric_freeing_simple"
CELLS = NeuralConfig(
    rows=512, beam=4096, steps=100, passes=1, learning_rate=0.002, robot_weight=1.0, features=("cells",), batch=256
)
PAGE = Path(__file__).parent.parent.parent / "docs" / "induction-neural.md"


def compared(fitted: Fitted) -> tuple[dict[str, float], dict[str, Any]]:
    """Errors over all non-terminal states, and at the root."""
    graph = build(fitted.world, fitted.max_steps)
    exact = solve(graph, fitted.params, keep_policies="all")
    table = tabulate(fitted, graph)
    found, sizes = errors(table, exact, graph), graph.level_sizes[:-1]
    means = {name: float((found[name] * sizes).sum() / sum(sizes)) for name in found if "visited" not in name}
    log_Vr = np.log(fitted.root_by_horizon["Vr"] / exact.root_by_horizon["Vr"])
    first = np.abs(freed_first(graph, table)[-1] - freed_first(graph, exact)[-1]).max()
    return means, {"root": abs(log_Vr[-1]), "any": np.abs(log_Vr).max(), "first": first}


def test_a_small_training_is_within_its_bars() -> None:
    config = NeuralConfig(rows=1024, beam=2048, steps=200)
    means, root = compared(fit(golden_world(FREEING), Params(), 10, config))
    assert means["log_Vr_mean"] <= 0.0013 and means["tv_pi_r"] <= 0.03
    assert root["root"] <= 0.013 and root["first"] <= 0.01


@cache
def ablated(kind: type[Training]) -> dict[str, float]:
    training = kind(golden_world(FREEING), Params(), 8, CELLS)
    while training.advance():
        pass
    return compared(training.fitted)[0]


@pytest.mark.parametrize(
    ("kind", "column", "factor"),
    [(NoBound, "Ve_mean", 1.1), (NoWarmStart, "log_Vr_mean", 1.5), (RandomRows, "log_Vr_mean", 1.2)],
)
def test_a_training_without_one_of_its_parts_does_worse(kind: type[Training], column: str, factor: float) -> None:
    assert ablated(kind)[column] >= factor * ablated(Training)[column]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_default_training_is_within_the_bars_of_the_freeing_world(seed: int) -> None:
    means, root = compared(fit(golden_world(FREEING), Params(), 15, seed=seed))
    assert means["Vm_mean"] <= 0.0065 and means["Ve_mean"] <= 0.006
    assert means["log_Vr_mean"] <= 0.005 and means["tv_pi_r"] <= 0.12
    assert root["root"] <= 0.015 and root["any"] <= 0.045 and root["first"] <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("beta_r", [5.0, 50.0])
def test_who_is_freed_first_is_right_in_the_simple_world(beta_r: float) -> None:
    config = NeuralConfig(rows=2048, beam=4096, steps=200)
    _, root = compared(fit(golden_world(SIMPLE), Params(beta_r=beta_r), 14, config))
    assert root["first"] <= 0.01 and root["root"] <= 0.08


def test_the_example_of_the_docs_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(PAGE.parent.parent)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {})
    assert "V_r at the root" in capsys.readouterr().out
