"""A trial that is killed at its weakest points ends with the bits of one that nothing happens to."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quintet.shard import checkpoints, publish
from quintet.shard.conspec.training import Training
from quintet.shard.errors import Exit
from quintet.shard.run import Run
from quintet.shard.trials import TrialStore

from ..machinery.elements import assert_nothing_corrupt, element, run_element, waited
from .study_runs import assert_equal_payloads, ended, payloads, planned, run_phase

SEARCH = "search-single"
EAGER = {"criterion_margin": -2.0, "score_threshold": -1.0, "criterion_patience": 2, "num_envs": 10}
"""Prototypes become active as soon as a few episodes of either kind are known."""


def die() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_a_checkpoint() -> None:
    """Die when half of the second checkpoint is written."""
    true, count = publish.replace_file, 0

    def cut(path: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count == 2:
            path.with_name(f".{path.name}.{os.getpid()}.tmp").write_bytes(bytes(content)[: len(content) // 2])
            die()
        true(path, content)

    checkpoints.replace_file = cut


def die_before_telling() -> None:
    """Die when the partial is published and the store does not know of it."""

    def tell(store: TrialStore, *arguments: Any) -> None:
        die()

    TrialStore.tell = tell  # type: ignore[method-assign]


def die_after_telling() -> None:
    """Die when the store knows of the trial and its checkpoints still stand."""
    true = TrialStore.tell

    def tell(store: TrialStore, *arguments: Any) -> None:
        true(store, *arguments)
        die()

    TrialStore.tell = tell  # type: ignore[method-assign]


def die_at_an_activation() -> None:
    """Die right after the first step that made a prototype active."""
    true = Training.advance

    def advance(training: Training) -> bool:
        before = training._trial._conspec.active.any()
        more = true(training)
        if training._trial._conspec.active.any() and not before:
            die()
        return more

    Training.advance = advance  # type: ignore[method-assign]


def one_trial(folder: Path, **phases: Any) -> Run:
    """Plan one trial of the delayed world `single` in which prototypes become active."""
    return planned(
        folder,
        training={"episodes": 120, "eval_frequency": 60, "checkpoint_frequency": 40},
        agent=EAGER,
        search={"n_trials": 1},
        ablation={"trials": 0},
        phases={SEARCH: {"shards": 1, **phases}},
    )


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The trial that nothing happens to."""
    run = one_trial(tmp_path_factory.mktemp("quiet") / "run")
    run_phase(run, SEARCH)
    (arrays,) = payloads(run).values()
    assert (arrays["rows/prototypes/activated_episode"] >= 0).any()
    assert (arrays["rows/episodes/intrinsic"] > 0).any()
    return run


DEATHS = (die_in_a_checkpoint, die_before_telling, die_after_telling, die_at_an_activation)


@pytest.mark.parametrize("dying", DEATHS, ids=lambda function: function.__name__)
def test_a_trial_killed_at_a_weak_point_ends_with_the_same_bits(
    quiet: Run, tmp_path: Path, dying: Callable[[], None]
) -> None:
    run = one_trial(tmp_path / "run", checkpoint_s=0.0)
    assert run_element(run, SEARCH, 0, dying) == -signal.SIGKILL
    assert_nothing_corrupt(run)
    run_phase(run, SEARCH)
    assert_equal_payloads(run, quiet)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "world"), [("grid", "single"), ("delayed", "double")])
def test_a_long_trial_killed_twelve_times_ends_with_the_same_bits(family: str, world: str, tmp_path: Path) -> None:
    phase = f"search-{world}"

    def long(folder: Path, **more: Any) -> Run:
        return planned(
            folder,
            environments=[world],
            environment={"family": family},
            training={"episodes": 2000, "eval_frequency": 500, "checkpoint_frequency": 500},
            agent={**EAGER, "num_envs": 20},
            search={"n_trials": 1},
            ablation={"trials": 0},
            phases={phase: {"shards": 1, **more}},
        )

    calm = long(tmp_path / "calm")
    began = time.monotonic()
    run_phase(calm, phase)
    duration = time.monotonic() - began
    run = long(tmp_path / "run", checkpoint_s=0.1)
    dice = random.Random(2000)
    for number in [signal.SIGKILL] * 12 + [signal.SIGTERM, signal.SIGUSR1] * 2:
        pid = element(run, phase)
        time.sleep(dice.uniform(0.05, 0.15) * duration)
        if ended([pid]):
            break
        os.kill(pid, number)
        assert waited(pid) in (-signal.SIGKILL, Exit.STOPPED, Exit.OK)
        assert_nothing_corrupt(run)
    run_phase(run, phase)
    assert_equal_payloads(run, calm, phase)
