"""What runs log and exports show: hints of probe answers, members of encounters, prompts and tokens, company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quintet.jobs.society import RunConfig, Simulation, parse_behavior, parse_likert
from quintet.jobs.society.conditions import conditions
from quintet.jobs.society.measures import COLLABORATIVE
from quintet.jobs.society.mock import MockBackend
from quintet.jobs.society.probes import hint_code, hints_of, scenarios
from quintet.jobs.society.summaries import by_resident
from quintet.jobs.society.vocabulary import PLACES
from quintet.merge.society.dumps import logs_of
from quintet.merge.society.export import command as export
from quintet.merge.society.frames import frame_of
from quintet.shard.partial import build, read_arrays, read_card, read_meta
from quintet.shard.society.logs import UnitLog

from ..house import House
from .town_runs import TOWN, planned, said_by

REPLIES = ("I would not give it away, 4 times no", "I strongly agree", "Later, definitely", "Hm.", "I share, 2")


def log_of(simulation: Simulation) -> UnitLog:
    """The log of a run as exports see it."""
    config, columns = simulation.config, simulation.log.since()
    coefficients = simulation.personas.astype("f4")
    return UnitLog(0, conditions(config)[0], 0, config, simulation.tick, columns, coefficients, True)


def mock_town(**more: Any) -> Simulation:
    return Simulation(RunConfig(**{"run_id": "m", "model_name": "mock", "population": 8, "steps": 6, **more}))


def test_probes_say_what_an_answer_was_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def reply(self: Any, seed: int, tick: int, resident: int) -> str:
        said.append(REPLIES[len(said) % len(REPLIES)])
        return said[-1]

    simulation = mock_town(probes={"cadence": 2, "mode": "both"})
    with monkeypatch.context() as patched:
        # the tick's own sentences come first; the replies to questions are its last ones
        patched.setattr(MockBackend, "sentence", reply)
        simulation.run(1)
    columns = simulation.log.since()
    assert columns["probes/hint"].dtype == np.int16
    asked = columns["probes/kind"] > 0
    assert (columns["probes/hint"][~asked] == -1).all() and (~asked).any()
    known = list(scenarios().values())
    expected = []
    for kind, item, text in zip(
        columns["probes/kind"][asked], columns["probes/item"][asked], said[-asked.sum() :], strict=True
    ):
        _, matched = parse_behavior(text, known[item]["outcomes"]) if kind == 1 else parse_likert(text)
        expected.append("" if matched == "unparsed" else matched)
    assert {"", "numeric", "strongly agree"} <= set(expected)
    frame = frame_of(log_of(simulation), "probes")
    assert frame["hint"][asked].tolist() == expected and set(frame["hint"][~asked]) == {""}


def test_hints_are_numbered_as_listed() -> None:
    assert hints_of()[:3] == ("numeric", "strongly disagree", "completely disagree") and len(hints_of()) == 25
    outcomes = {"share": ["give"], "refuse": ["keep", "give"]}
    assert hints_of(outcomes) == ("numeric", "share", "give", "refuse", "keep", "give")
    assert [hint_code(word, outcomes) for word in ("unparsed", "share", "give", "keep")] == [-1, 1, 2, 4]
    assert [hint_code(word) for word in ("unparsed", "numeric", "refuse")] == [-1, 0, 24]


def test_company_is_counted_in_the_place_at_the_tick_s_start() -> None:
    simulation = mock_town(population=13, steps=12)
    places = [PLACES.index(resident.place) for resident in simulation.residents]
    done, together, alone_in_company = np.zeros(13), np.zeros(13), 0
    while not simulation.done:
        crowd, marks = [len(residents) for residents in simulation.world.present()], simulation.log.marks()
        simulation.run(1)
        new = simulation.log.since(marks)
        sizes = np.repeat(new["encounters/size"], new["encounters/size"])
        for resident, kind, place, size in zip(
            new["actions/resident"], new["actions/action"], new["actions/place"], sizes, strict=True
        ):
            if kind in COLLABORATIVE:
                done[resident] += 1
                together[resident] += crowd[place] > 1
                alone_in_company += crowd[place] > 1 and size == 1
    assert alone_in_company
    with np.errstate(invalid="ignore"):
        expected = together / done
    np.testing.assert_array_equal(by_resident(simulation.log.since(), places)["collaboration_ratio"], expected)


def test_exports_show_members_prompts_and_tokens(house: House, tmp_path: Path) -> None:
    run = planned(
        house, tmp_path / "run", *TOWN, "study.replicates=1", "logging.prompts=true", "logging.token_ids=true"
    )
    house("local", run, "--phase", "simulate", "--jobs", 1)
    said_by(export, run, "--format", "csv", "--output-dir", tmp_path / "csv")
    encounters = pd.read_csv(tmp_path / "csv" / "encounters.csv")
    members = encounters["members"].str.split(" ")
    assert (members.str.len() == encounters["size"]).all() and encounters["size"].max() > 1
    met = encounters.assign(resident=members).explode("resident")
    actions = pd.read_csv(tmp_path / "csv" / "actions.csv")
    assert met[["unit", "tick", "resident"]].values.tolist() == actions[["unit", "tick", "resident"]].values.tolist()
    messages = pd.read_csv(tmp_path / "csv" / "messages.csv", keep_default_na=False)
    assert messages["prompt"].str.startswith("You live in a small town").all() and "token_ids" in messages
    for path in (run / "partials" / "simulate" / "0000").glob("s*.h5"):
        older = {name: array for name, array in read_arrays(path).items() if "/hint" not in name}
        path.write_bytes(build(read_card(path), older, read_meta(path))[0])
    probes = frame_of(logs_of(run)[0], "probes")
    assert "hint" not in probes and len(probes)


def test_tokens_are_exported_as_ids(tiny: Any, tiny_vectors: Any) -> None:
    config = RunConfig(
        run_id="t", model_name="tiny-random", population=3, steps=1, layers=[2], probes={"enabled": False},
        inference={"max_new_tokens": 4}, logging={"prompts": True, "token_ids": True},
    )  # fmt: skip
    simulation = Simulation(config, tiny, vectors=tiny_vectors, prior=np.zeros(13))
    simulation.run()
    messages = frame_of(log_of(simulation), "messages")
    assert messages["prompt"].str.startswith("system: You live in a small town").all()
    assert [len(ids.split()) for ids in messages["token_ids"]] == messages["tokens_out"].tolist()
    plain = frame_of(log_of(mock_town()), "messages")
    assert "prompt" not in plain and "token_ids" not in plain
