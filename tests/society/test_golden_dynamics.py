"""The heuristic dynamics: recorded runs of the reference implementation, its plain twin, and states in between."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from quintet.jobs.society import History, RunConfig, Simulation, reference, sample_residents

from .golden_files import as_numbers, config_of, golden

RUNS = golden("trajectories")


def check(history: History, run: dict[str, Any]) -> None:
    """Hold a history to a recorded run, field for field."""
    for resident, expected in zip(history.residents, run["init"], strict=True):
        assert (resident.id, resident.place, resident.role) == (expected["id"], expected["location"], expected["role"])
        assert list(resident.goals[1:]) == expected["goals"]
        assert resident.persona == pytest.approx(expected["persona"], abs=1e-9)
    assert [[[e.place, list(e.members)] for e in tick] for tick in history.encounters] == run["encounters"]
    actions = [[a.tick, a.resident, a.kind, a.outcome, a.parameters, a.result] for a in history.actions]
    assert actions == [[*row[:4], as_numbers(row[4]), as_numbers(row[5])] for row in run["actions"]]
    assert history.planner_calls == run["planner_calls"]
    final, expected = history.final, run["final"]
    assert final is not None
    assert final.places == expected["locations"]
    assert final.credits == {name: held["credits"] for name, held in expected["credits"].items()}
    assert final.tokens_left == expected["tokens_left"]
    assert final.checklists == expected["checklists"]
    assert [list(rule) for rule in final.rules] == expected["rules"]
    assert final.satisfaction == pytest.approx(expected["satisfaction"], abs=1e-9)
    assert list(final.satisfaction) == sorted(final.satisfaction)
    assert final.objective_progress == expected["objective_progress"]
    table = np.array(run["metrics_global"])
    np.testing.assert_allclose(history.metrics["gini_acting"], table[:, 1], atol=1e-9)
    np.testing.assert_allclose(history.metrics["satisfaction_variance_acting"], table[:, 2], atol=1e-9)
    edges = history.metrics["talk_edges"]
    assert edges.dtype.kind == "i" and len(edges) == run["case"]["steps"]
    assert edges[edges > 0].tolist() == run["message_edges"]


@pytest.mark.parametrize("run", RUNS, ids=[run["case"]["name"] for run in RUNS])
def test_recorded_runs_are_reproduced_field_for_field(run: dict[str, Any]) -> None:
    check(Simulation(config_of(run["case"])).run(), run)
    check(reference.simulate(config_of(run["case"])), run)


@pytest.mark.parametrize("seed", range(6))
def test_the_plain_twin_agrees_on_other_cases(seed: int) -> None:
    config = RunConfig(
        run_id="twin",
        model_name="mock",
        population=5 + 4 * seed,
        steps=40,
        seed=1000 + seed,
        env=("research", "policy", "nav")[seed % 3],
        difficulty=1 + seed,
        max_events_per_tick=3 + seed,
        policy={"kind": "heuristic"},
        reflection={"rule": ("reference", "lazy")[seed % 2]},
        optimization={"reflect_every_n_ticks": 1 + 2 * seed},
        objectives={"templates": ["explore", "work_project", "community_builder", "gather"] if seed > 3 else None},
        meta_orchestrator={"silence_ticks": seed},
    )
    fast, plain = Simulation(config).run(), reference.simulate(config)
    assert fast.actions == plain.actions
    assert fast.encounters == plain.encounters
    assert fast.final == plain.final
    assert fast.planner_calls == plain.planner_calls
    for name, values in plain.metrics.items():
        np.testing.assert_array_equal(fast.metrics[name], values)


def test_policy_plans_are_proposed_and_enacted_alike() -> None:
    template = {"type": "policy", "requirements": {"fill_field": 2, "propose_plan": 1, "submit_plan": 1}}
    config = RunConfig(
        run_id="plan",
        model_name="mock",
        env="policy",
        difficulty=2,
        population=6,
        steps=30,
        policy={"kind": "heuristic"},
        objectives={"templates": {"whole": template}},
    )
    fast, plain = Simulation(config).run(), reference.simulate(config)
    assert fast.actions == plain.actions and fast.final == plain.final
    assert len(fast.final.rules) > 1


def test_runs_in_parts_equal_one_run_and_checkpoints_are_copies() -> None:
    config = config_of(RUNS[8]["case"])
    whole = Simulation(config).run()
    simulation = Simulation(config)
    first = simulation.run(11)
    state = simulation.checkpoint()
    # what a checkpoint file keeps of it: arrays, and values that JSON can hold
    state = {k: v.copy() if isinstance(v, np.ndarray) else json.loads(json.dumps(v)) for k, v in state.items()}
    rest = simulation.run()
    restored = Simulation.restore(state).run()
    assert first.actions + rest.actions == whole.actions
    assert restored.actions == rest.actions and restored.final == rest.final == whole.final
    assert first.planner_calls + rest.planner_calls == whole.planner_calls
    for name, values in whole.metrics.items():
        np.testing.assert_array_equal(np.concatenate([first.metrics[name], restored.metrics[name]]), values)


def test_money_and_tokens_are_conserved_and_everybody_acts_once_a_tick() -> None:
    config = RunConfig(run_id="c", model_name="mock", population=20, steps=40, env="nav", seed=5)
    history = Simulation(config).run()
    assert history.final is not None
    assert sum(history.final.credits.values()) == sum(a.kind == "work" for a in history.actions)
    found = sum(action.kind == "scan" and action.outcome == "success" for action in history.actions)
    assert found + sum(history.final.tokens_left.values()) == 3 * 6
    for tick, encounters in enumerate(history.encounters):
        members = [name for encounter in encounters for name in encounter.members]
        assert len(encounters) <= 16 and len(set(members)) == len(members)
        assert all(1 <= len(encounter.members) <= 3 for encounter in encounters)
        assert [a.resident for a in history.actions if a.tick == tick] == members
    assert sorted(name for names in history.final.places.values() for name in names) == [
        resident.id for resident in history.residents
    ]


def test_residents_are_drawn_as_recorded() -> None:
    for case in golden("units")["persona_sampling"]:
        config = RunConfig(
            run_id="p",
            seed=case["seed"],
            population=case["population"],
            env=case["env"],
            steering={"coefficients": case["coefficients"]},
            personas={"jitter": case["jitter"]},
        )
        for resident, expected in zip(sample_residents(config), case["agents"], strict=True):
            assert resident.persona == pytest.approx(expected["persona"], abs=1e-12)
            assert (resident.place, resident.role) == (expected["location"], expected["role"])
            assert list(resident.goals[1:]) == expected["goals"]


def test_all_arms_have_the_same_people() -> None:
    people = [
        sample_residents(RunConfig(run_id="a", model_name="mock", steering={"mode": arm}))
        for arm in ("targeted", "placebo", "random", "disabled")
    ]
    assert all(one == people[0] for one in people)
