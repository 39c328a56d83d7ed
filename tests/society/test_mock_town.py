"""The town with the mock model: known effects of doses on behaviour, paired over seeds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from quintet.jobs.society import RunConfig, Simulation, verify_steering
from quintet.jobs.society.conditions import dose_changes
from quintet.jobs.society.decisions import reminders
from quintet.jobs.society.mock import W
from quintet.jobs.society.summaries import BANDS, bands_of, by_band, by_resident, coefficient_buckets
from quintet.jobs.society.tables import playbook
from quintet.jobs.society.templates import merged_over
from quintet.jobs.society.vocabulary import KIND_INDEX, PLACES


def town(trait: str, dose: float, seed: int, **more: Any) -> dict[str, Any]:
    base = RunConfig(run_id="m", model_name="mock")
    shared = {
        "run_id": "m",
        "model_name": "mock",
        "population": 16,
        "steps": 20,
        "seed": seed,
        "probes": {"cadence": 5},
    }
    return merged_over({**shared, **more}, dose_changes(base, "targeted", trait, dose))


def share(history: Any, kinds: tuple[str, ...]) -> float:
    return sum(action.kind in kinds for action in history.actions) / len(history.actions)


@pytest.mark.parametrize(
    "trait, kinds, sign",
    [("E", ("talk",), 1), ("A", ("argue",), -1), ("C", ("submit_report", "work", "research"), 1)],
)
def test_doses_move_behaviour_in_their_direction(trait: str, kinds: tuple[str, ...], sign: int) -> None:
    differences = []
    for seed in range(4):
        high = Simulation(RunConfig(**town(trait, 1.5, seed))).run()
        low = Simulation(RunConfig(**town(trait, -1.5, seed))).run()
        differences.append(sign * (share(high, kinds) - share(low, kinds)))
    assert np.mean(differences) > 0 and sum(d > 0 for d in differences) >= 3


def test_probe_scores_and_logged_doses_are_the_doses() -> None:
    history = Simulation(RunConfig(**town("N", 2.0, 3))).run()
    measured = history.metrics["probe_N"]
    assert np.nanmax(np.abs(measured - 2.0)) < 0.06
    assert np.isnan(measured).sum() == 16
    np.testing.assert_allclose(history.columns["messages/dose"][:, 4], 2.0)
    np.testing.assert_allclose(history.columns["messages/coef"][:, 4], 1.0)


def test_the_matrix_is_the_published_one() -> None:
    assert W.shape == (5, 13)
    assert W[0, KIND_INDEX["talk"]] == 1.0 and W[1, KIND_INDEX["argue"]] == -1.0 and W[4, KIND_INDEX["rest"]] == -0.5
    assert np.count_nonzero(W) == 11


def test_arms_without_vectors_answer_no_dose() -> None:
    runs = {}
    for arm in ("disabled", "random"):
        for e in (-1.0, 1.0):
            steering = {"mode": arm, "coefficients": {"E": e}}
            config = RunConfig(run_id="m", model_name="mock", population=8, steps=8, steering=steering)
            runs[arm, e] = [action.kind for action in Simulation(config).run().actions]
    assert len({tuple(kinds) for kinds in runs.values()}) == 1


@pytest.mark.parametrize("arm", ["disabled", "prompt"])
def test_an_arm_without_vectors_logs_no_coefficients_and_fails_verification(arm: str) -> None:
    config = RunConfig(
        run_id="m",
        model_name="mock",
        population=8,
        steps=8,
        steering={"mode": arm},
        inference={"persona_prompt": "labels"},
    )
    history = Simulation(config).run()
    assert not history.columns["messages/coef"].any()
    assert any(any(resident.persona.values()) for resident in history.residents)
    rows = [(action.tick, action.resident, {}) for action in history.actions]
    assert verify_steering(rows).exit_code == 1


def test_work_is_heard_in_the_room_and_stands_on_the_noticeboard() -> None:
    simulation = Simulation(RunConfig(run_id="m", model_name="mock", population=12, steps=8))
    history = simulation.run()
    kinds = [action.kind for action in history.actions]
    broadcast = [kind for kind in kinds if kind in ("talk", "work", "gift", "argue")]
    assert "work" in broadcast
    assert len(history.noticeboard) == len(broadcast)
    assert sum(len(room) for room in simulation.world.rooms) == sum(
        min(8, sum(place == name for _, _, place, _ in history.noticeboard)) for name in history.final.places
    )


def test_reminders_take_turns_and_goals_of_all_are_told() -> None:
    book = playbook()
    section = RunConfig(run_id="m", meta_orchestrator={"global_goals": ["finish early"]}).meta_orchestrator
    lines = reminders("Field Researcher", section, book)
    role = book["roles"]["Field Researcher"]
    assert lines == ["All of you want to finish early.", *role["hints"], *role["reminders"], *book["reminders"]]
    own = RunConfig(run_id="m", meta_orchestrator={"recurring_reminders": ["Hurry."]}).meta_orchestrator
    assert reminders("Field Researcher", own, book) == ["Hurry."]


def test_lazy_reflection_plans_about_once_in_n_ticks() -> None:
    config = RunConfig(
        run_id="m",
        model_name="mock",
        population=16,
        steps=50,
        optimization={"reflect_every_n_ticks": 10},
        objectives={"enabled": False},
        meta_orchestrator={"enabled": False},
        policy={"planner_weight": 50.0},
    )
    history = Simulation(config).run()
    assert history.planner_calls / len(history.actions) < 0.2
    assert history.metrics["plan_reuse_rate"].mean() > 0.8


def test_toxic_speech_lowers_steering_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintet.jobs.society.mock.SENTENCES", ("I could kill for a cup of tea.",))
    config = RunConfig(
        run_id="m", model_name="mock", population=4, steps=3, personas={"jitter": 0}, policy={"kind": "heuristic"}
    )
    history = Simulation(config).run()
    coefficients = history.columns["messages/coef"][history.columns["actions/resident"] == 0][:, 0]
    np.testing.assert_allclose(coefficients, [0.8, 0.64, 0.512], rtol=1e-6)
    assert len(history.columns["safety/tick"]) == 12


def test_a_full_place_can_be_closed() -> None:
    keys = {"run_id": "m", "model_name": "mock", "population": 40, "steps": 30, "max_events_per_tick": 30}
    open_town = Simulation(RunConfig(**keys, world={"enforce_capacity": False})).run()
    closed = Simulation(RunConfig(**keys, world={"enforce_capacity": True}))
    start = max(closed.world.place.count(place) - (20, 14, 10)[place] for place in range(3))
    history = closed.run()
    assert any(action.result.get("note") == "full" for action in history.actions)
    assert not any(action.result.get("note") == "full" for action in open_town.actions)
    assert closed.world.place.count(2) <= 10 + max(0, start)


def test_heuristic_towns_need_no_torch() -> None:
    code = (
        "import sys\n"
        "from quintet.jobs.society import RunConfig, Simulation\n"
        "Simulation(RunConfig(run_id='x', model_name='mock', policy={'kind': 'heuristic'}, steps=3)).run()\n"
        "Simulation(RunConfig(run_id='x', model_name='mock', steps=2)).run()\n"
        "assert not {'torch', 'transformers', 'h5py', 'click'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_summaries_agree_with_the_actions() -> None:
    simulation = Simulation(RunConfig(run_id="m", model_name="mock", population=12, steps=15))
    history = simulation.run()
    table = by_resident(history.columns, [PLACES.index(resident.place) for resident in history.residents])
    assert table["actions"].sum() == len(history.actions)
    for number, resident in enumerate(history.residents):
        mine = [action for action in history.actions if action.resident == resident.id]
        assert table["actions"][number] == len(mine)
        assert table["first_action_tick"][number] == mine[0].tick
        submits = [action.tick for action in mine if action.kind == "submit_report"]
        assert table["submit_tick"][number] == (submits[0] if submits else -1)
    bands = by_band(history.columns, bands_of(simulation.personas.tolist()), 15)
    assert bands.shape == (15, len(BANDS), 6)
    np.testing.assert_array_equal(bands[:, :, 0].sum(axis=1), history.metrics["n_actions"])
    assert coefficient_buckets(history.columns["messages/coef"]).sum() == 5 * len(history.actions)


def test_no_ticks_are_an_empty_history_and_the_run_goes_on_past_its_end_when_told() -> None:
    simulation = Simulation(RunConfig(run_id="m", model_name="mock", population=4, steps=2))
    for ticks in (0, None, None):
        before = simulation.tick
        history = simulation.run(ticks)
        assert len(history.encounters) == len(history.metrics["gini_acting"]) == simulation.tick - before
        assert {action.tick for action in history.actions} <= set(range(before, simulation.tick))
    assert simulation.done and history.actions == [] and history.final is not None
    assert len(simulation.run(1).encounters) == 1
    with pytest.raises(ValueError, match="ticks: found -1"):
        simulation.run(-1)
