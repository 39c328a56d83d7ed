"""Report, figures and tables of a study, exports, and the tools beside it."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from quintet.jobs.society import RunConfig, Simulation
from quintet.jobs.society.lanes import Lanes
from quintet.jobs.society.outcomes import OUTCOMES
from quintet.merge.society.analyze import command as analyze
from quintet.merge.society.export import command as export
from quintet.merge.society.verify_command import command as verify_steering
from quintet.shard.society.live import LiveView, ViewOptions, steering_text, wants_color
from quintet.shard.society.view import command as view

from ..house import PROJECT, House
from .town_runs import DEMO, TOWN, planned, said_by

PROTO = PROJECT / "configs" / "society" / "run.proto.yaml"
STUDY_FIGURES = (
    "dose_response",
    "behaviour_by_dose",
    "bleed_matrix",
    "arms_over_time",
    "action_distribution",
    "steering_heatmap",
    "activity_over_time",
    "throughput",
)


@pytest.fixture(scope="module")
def rendered(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study with its report, one of three shards missing."""
    run = planned(house, tmp_path_factory.mktemp("rendered") / "run", *TOWN, "phases.simulate.shards=3")
    for shard in (0, 2):
        house("shard", run, "simulate", "--index", shard)
    assert "missing" in house("merge", run, code=3).stderr
    house("merge", run, "--allow-missing")
    return run


def test_a_report_of_what_is_there_says_what_is_missing(rendered: Path) -> None:
    text = (rendered / "report" / "report.md").read_text()
    assert "INCOMPLETE" in text and "units are not computed yet" in text
    assert str(rendered) not in text
    for name in STUDY_FIGURES:
        assert (rendered / "figures" / f"{name}.png").stat().st_size > 5000
        assert json.loads((rendered / "figures" / f"{name}.json").read_text())["stamp"].startswith("INCOMPLETE")
    summary = json.loads((rendered / "tables" / "summary.json").read_text())
    assert summary["units"]["present"] < summary["units"]["planned"] == 14
    verdicts = {level["name"]: level["verdict"] for level in summary["verification"]}
    assert verdicts["Hooks change the residual stream"] == "not applicable"
    assert verdicts["Held-out dose-response is monotone for each trait"] == "not applicable"


def test_tables_hold_intervals_contrasts_and_dose_response(rendered: Path) -> None:
    summary = pd.read_csv(rendered / "tables" / "summary.csv")
    assert set(summary["metric"]) == set(OUTCOMES)
    with h5py.File(rendered / "merged" / "simulate.h5") as file:
        triples = file["conditions/outcomes"][()]
        assert triples.shape == (7, len(OUTCOMES), 3)
        assert file["conditions/ticks"].shape[:2] == (7, 6)
    place = (summary["condition_id"] == "targeted-E+1") & (summary["metric"] == "probe_E")
    row = summary[place].iloc[0]
    assert row["mean"] == pytest.approx(1.0, abs=0.1) and row["ci_low"] <= row["mean"] <= row["ci_high"]
    doses = pd.read_csv(rendered / "tables" / "dose_response.csv")
    slope = doses[(doses["arm"] == "targeted") & (doses["outcome"] == "probe_E")].iloc[0]
    assert slope["slope"] == pytest.approx(1.0, abs=0.05) and slope["monotone"] == "rising"
    contrasts = pd.read_csv(rendered / "tables" / "contrasts.csv")
    assert set(contrasts["kind"]) == {"reference", "placebo"}
    pairs = set(zip(contrasts["condition_id"], contrasts["against"], strict=True))
    assert {("targeted-E+1", "targeted-E+0"), ("targeted-E+1", "placebo-E+1")} <= pairs
    assert (contrasts["p_holm"].dropna() >= contrasts["p"][contrasts["p_holm"].notna()] - 1e-12).all()
    shares = pd.read_csv(rendered / "tables" / "shares.csv")
    for _, group in shares.groupby("condition_id"):
        assert group["share"].sum() == pytest.approx(1.0)
        assert (group["success"] + group["fail"] == group["count"]).all()


def test_exports_hold_the_same_rows_in_every_format(rendered: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    for form in ("csv", "parquet", "sqlite"):
        said_by(export, rendered, "--format", form, "--output-dir", tmp_path / form)
    for name in ("actions", "messages", "probes", "ticks", "residents"):
        connection = sqlite3.connect(tmp_path / "sqlite" / "run.sqlite")
        tables[name] = {
            "csv": pd.read_csv(tmp_path / "csv" / f"{name}.csv"),
            "parquet": pd.read_parquet(tmp_path / "parquet" / f"{name}.parquet"),
            "sqlite": pd.read_sql(f"SELECT * FROM {name}", connection),
        }
        connection.close()
        shapes = {form: table.shape for form, table in tables[name].items()}
        assert len(set(shapes.values())) == 1 and shapes["csv"][0] > 0, (name, shapes)
    actions = tables["actions"]["parquet"]
    with h5py.File(rendered / "merged" / "simulate.h5") as file:
        present = len(file["rows/units/seed"])
    assert actions["unit"].nunique() == present and set(actions["outcome"]) <= {"success", "fail"}
    messages = tables["messages"]["parquet"]
    assert messages["text"].str.len().min() > 0 and messages[list("EACON")].abs().to_numpy().max() <= 1.0
    verified = said_by(verify_steering, "--messages-dir", tmp_path / "parquet")
    assert "✓ PASS: Steering values show variation" in verified
    viewed = said_by(view, tmp_path / "parquet" / "actions.parquet", "-n", 1)
    assert viewed.startswith(f"shape: {len(actions)} rows x")


def test_messages_without_steering_fail_and_wrong_arguments_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    pd.DataFrame({"tick": [0, 1], "resident": ["agent-000", "agent-001"], "text": ["a", "b"]}).to_csv(
        folder / "messages.csv", index=False
    )
    assert "❌ FAIL" in said_by(verify_steering, "--messages-dir", folder, code=1)
    few = said_by(verify_steering, "--messages-dir", folder, "--num-files", 0, code=2)
    assert "--num-files: found 0" in few
    assert "no such folder" in said_by(analyze, "--dump-dir", tmp_path / "nowhere", code=2)
    assert "has no actions" in said_by(analyze, "--dump-dir", tmp_path, code=2)


@pytest.fixture(scope="module")
def dropped_in(house: House, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What the main script makes of a preset with its flags, looked at live."""
    output = tmp_path_factory.mktemp("dropin") / "out"
    flags = ("--steps", 3, "--population", 6, "--max-events", 2, "--seed", 5, "--env", "policy", "--difficulty", 2)
    done = house(
        "study", "society", "run", PROTO, *flags, "--live", "--no-color", "--set", "logging.export=[csv]",
        "--output-dir", output, "--n-workers", 1,
    )  # fmt: skip
    return output, done.stdout


def test_the_main_script_takes_its_flags_and_leaves_its_files(dropped_in: tuple[Path, str]) -> None:
    output, said = dropped_in
    config = json.loads((output / "plan" / "run.json").read_text())["config"]
    assert [config[key] for key in ("steps", "population", "max_events_per_tick", "seed", "env", "difficulty")] == [
        3, 6, 2, 5, "policy", 2,
    ]  # fmt: skip
    assert said.strip().endswith(str(output))
    for name in ("summary.csv", "report.md", "plots"):
        link = output / name
        assert link.is_symlink() and not link.readlink().is_absolute() and link.exists()
    assert (output / "tables" / "export" / "actions.csv").is_file()


def test_the_live_view_has_its_published_look(dropped_in: tuple[Path, str]) -> None:
    lines = dropped_in[1].splitlines()
    assert lines[:3] == ["=" * 80, "TICK 0 | 2 events scheduled", "=" * 80]
    assert "\x1b" not in dropped_in[1]
    assert any(line.startswith("  ✓ agent-00") for line in lines)
    assert any(line.startswith("    💬 agent-00") and " @ " in line for line in lines)
    assert any("→" in line and "tokens] [A:" in line for line in lines)
    assert sum(line.startswith("  ⏱  Tick completed in ") for line in lines) == 3
    end = lines.index("SIMULATION COMPLETE")
    assert [line.split(":")[0] for line in lines[end + 1 : end + 6]] == [
        "  Run ID", "  Ticks", "  Agents", "  Total time", "  Avg time/tick",
    ]  # fmt: skip
    assert lines[end + 6] == "=" * 80


def test_a_live_view_of_a_study_asks_for_the_unit_before_anything_is_written(house: House, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    for flags, words in (((), "name one with --unit 0 to"), (("--unit", 10_000), "--unit: found 10000")):
        given = ("study", "society", DEMO, "--live", "--fresh", "--output-dir", output, *flags)
        assert words in house(*given, code=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and not list(output.iterdir())


def test_another_attempt_keeps_or_sets_aside_what_stands_without_a_reader(
    house: House, dropped_in: tuple[Path, str]
) -> None:
    output = dropped_in[0]
    before = (output / "merged" / "simulate.h5").read_bytes()
    flags = ("--steps", 3, "--population", 6, "--max-events", 2, "--env", "policy", "--difficulty", 2, "--n-workers", 1)
    more = ("--set", "logging.export=[csv]", "--output-dir", output)
    house("study", "society", PROTO, *flags, "--seed", 5, *more)
    assert (output / "merged" / "simulate.h5").read_bytes() == before
    assert "another config" in house("study", "society", PROTO, *flags, "--seed", 6, *more, code=78).stderr
    again = house.start("study", "society", PROTO, *flags, "--seed", 6, "--no-steering", "--fresh", "--live", *more)
    assert again.stdout is not None and again.stderr is not None
    assert again.stdout.readline().startswith("====")
    again.stdout.close()
    said = again.stderr.read()
    assert again.wait(timeout=300) == 0, said
    assert "the earlier run is" in said and output.with_name("out.bak").is_dir()
    assert (output / "report" / "report.md").is_file()
    config = json.loads((output / "plan" / "run.json").read_text())["config"]
    assert config["steering"]["enabled"] is False and config["study"]["arms"] == ["disabled"]


def test_analysis_of_a_finished_run_is_text_and_three_plots(house: House, dropped_in: tuple[Path, str]) -> None:
    done = house("study", "society", "analyze", "--run", dropped_in[0])
    for heading in (
        "Action types",
        "Resident activity",
        "Token use",
        "Steering profiles",
        "Temporal dynamics",
        "Success and failure",
        "Tracker summary",
    ):
        assert heading in done.stdout
    for name in ("action_distribution", "steering_heatmap", "activity_over_time"):
        assert (dropped_in[0] / "analysis" / f"{name}.png").stat().st_size > 5000
    dumped = said_by(analyze, "--dump-dir", dropped_in[0] / "tables" / "export", "--no-plots")
    assert dumped.splitlines()[0] == done.stdout.splitlines()[0]
    both = house("study", "society", "analyze-run", dropped_in[0], "--no-plots", code=None)
    assert "Action types" in both.stdout and "Steering" in both.stdout


def test_view_shows_shape_schema_and_rows_of_a_partial(rendered: Path) -> None:
    partial = rendered / "partials" / "simulate" / "0000" / "s000000.h5"
    said = said_by(view, partial, "-n", 2, "--dataset", "rows/actions").splitlines()
    assert said[0].startswith("shape: ") and "tick int32" in said[1] and len(said) == 5
    assert "rows/nothing" in said_by(view, partial, "-d", "rows/nothing", code=2)


def test_the_doctor_names_what_is_slow_and_its_mend(house: House, rendered: Path) -> None:
    said = house("study", "society", "doctor", "run.medium", code=None).stdout
    assert "messages of up to 160 tokens -> inference: {max_new_tokens: 48}" in said
    assert all(line[0] in "✓⚠✗" for line in said.splitlines())
    assert "(measured)" in house("study", "society", "doctor", rendered, code=None).stdout


def test_presets_are_compared_by_their_cost(house: House) -> None:
    lines = house("study", "society", "bench-configs", "--model", "mock", "--ticks", 2).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["preset", "original", "current", "fast", "quantized"]
    assert lines[1].split()[-1] == "1.0x"


def lane(**more: object) -> Simulation:
    return Simulation(RunConfig(run_id="v", model_name="mock", population=8, steps=4, **more))


def test_colours_follow_the_terminal_and_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert (
        wants_color(Terminal(), False) and not wants_color(Terminal(), True) and not wants_color(io.StringIO(), False)
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(Terminal(), False)
    assert steering_text([0.5, 0.05, 0.92, -0.2, 0.0]) == "[C:+0.9, E:+0.5, O:-0.2]"
    assert steering_text([0.1, 0.0, 0.0, 0.0, 0.0]) == ""


def test_a_closed_pipe_ends_the_view_and_not_the_run() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    town = lane()
    view = LiveView(ViewOptions(0, color=True), Closed(), io.StringIO())
    lanes = Lanes([town])
    view.follow(range(1), lanes)
    while lanes.advance(0.0):
        view.show()
    assert town.done


def test_long_messages_are_cut_and_failures_marked() -> None:
    town = lane(max_events_per_tick=2)
    stream = io.StringIO()
    view = LiveView(ViewOptions(0), stream, io.StringIO())
    view.follow(range(1), Lanes([town]))
    town.run(1)
    columns = town.log.since()
    text = "x" * 200 + "\nb\nc\nd"
    lengths, data = columns["messages/length"], columns["messages/bytes"]
    kept = data[lengths[0] :]
    columns["messages/bytes"] = np.concatenate([np.frombuffer(text.encode(), "u1"), kept])
    lengths[0] = len(text)
    columns["actions/outcome"][0] = 1
    columns["actions/action"][0] = 1
    lines = view.tick_lines(town, columns, 0, 72.45)
    assert lines[3].startswith("  ✗ agent-00") and lines[3].endswith("TALK")
    assert lines[5] == "       " + "x" * 117 + "..." and lines[8] == "       ..."
    assert "  ⏱  Tick completed in 72.45s" in lines


def test_a_damaged_checkpoint_does_not_stop_verification(rendered: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(rendered, run)
    folder = run / "checkpoints" / "simulate" / "0000"
    folder.mkdir(parents=True)
    (folder / "u000003.0.h5").write_bytes(b"no checkpoint")
    assert "PASS" in said_by(verify_steering, "--run", run)
