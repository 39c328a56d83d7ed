"""What a plan refuses or decides from files and devices: one line before anything is written, and what it freezes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from quintet.jobs.society import PersonaVectors, RunConfig, load_backend
from quintet.jobs.society.library import load_vectors, save_vectors
from quintet.jobs.society.residents import sample_residents
from quintet.shard.commands.base import run_command
from quintet.shard.commands.plan import command
from quintet.shard.configs import config_sha256, loaded, validated
from quintet.shard.society import model_phases
from quintet.shard.society.table import phases

Refused = Callable[..., str]
PLAYBOOK = "reminders: [Listen.]\nroles: {QA Reviewer: {duty: doubt, reminders: [Doubt.]}}\n"
TINY = {"run_id": "x", "model_name": "tiny-random", "study": "society", "layers": [2]}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Plan a config that is not allowed, and return the one line that says so."""

    def plan(config: dict[str, Any], *settings: str) -> str:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(config))
        sets = [part for setting in settings for part in ("--set", setting)]
        with pytest.raises(SystemExit) as ended:
            run_command(command, [str(path), "--run", str(tmp_path / "run"), "--no-probe", *sets], "bin/plan")
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        assert len(said.strip().splitlines()) == 1 and not (tmp_path / "run").exists()
        return said

    return plan


def frozen(path: Path, *settings: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what `plan` would freeze of a config, and the hash of each phase."""
    raw, study = loaded(path, settings)
    config, table = validated(raw, study, str(path))
    hashed = {"phases": {}, **config}
    return config, {phase.name: config_sha256(hashed, table, phase) for phase in table}


def vector_folder(folder: Path, traits: str = "EACON", blocks: tuple[int, ...] = (2,), width: int = 32) -> Path:
    """Write vectors of some traits at some blocks, and return their file."""
    directions = {trait: {block: np.ones(width, "f4") for block in blocks} for trait in traits}
    norms = {trait: dict.fromkeys(blocks, 1.0) for trait in traits}
    save_vectors(PersonaVectors(directions, norms), folder)
    return folder / "vectors.npz"


@pytest.mark.parametrize(
    ("traits", "blocks", "study", "words"),
    [
        ("EAO", (2,), {}, ("C, N are missing", "it has E, A, O")),
        ("EACON", (1, 3), {}, ("E at block 2 are missing", "it has 1, 3")),
        ("EACON", (2,), {"overrides": {"deep": {"layers": [3]}}}, ("block 3 are missing", "it has 2")),
        ("EACON", (2,), {"overrides": {"deep": {"steering": {"layers": [0]}}}}, ("block 0 are missing",)),
        ("EACON", (2,), {"eval_layers": [1, 2]}, ("block 1 are missing",)),
        ("EACON", (2,), {"tune": {"trials": 1}}, ("block 3 are missing",)),
    ],
)
def test_given_vectors_must_have_every_trait_at_every_block_that_is_used(
    tmp_path: Path, refused: Refused, traits: str, blocks: tuple[int, ...], study: dict[str, Any], words: Any
) -> None:
    file = vector_folder(tmp_path / "given", traits, blocks)
    said = refused({**TINY, "study": {"name": "society", **study}, "inputs": {"vectors": str(file)}})
    assert all(word in said for word in (*words, str(file.parent))), said


def damaged(file: Path, how: str) -> None:
    """Damage a folder of vectors."""
    whole = file.read_bytes()
    arrays = dict(np.load(file))
    if how == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif how == "flipped":
        file.write_bytes(whole.replace(np.float64(1).tobytes(), np.float64(2).tobytes(), 1))
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "array":
        with file.open("wb") as stream:
            np.save(stream, np.ones(3))
    elif how == "shape":
        np.savez(file, **{**arrays, "A/directions": np.ones(32, "f4")})
    elif how == "width":
        np.savez(file, **{**arrays, "A/directions": np.ones((1, 31), "f4")})
    elif how == "short":
        np.savez(file, **{**arrays, "N/norms": np.ones(2)})
    elif how == "norms":
        np.savez(file, **{key: value for key, value in arrays.items() if key != "C/norms"})
    elif how == "nan":
        np.savez(file, **{**arrays, "C/norms": np.array([np.nan])})
    elif how == "json":
        file.with_name("vectors.json").write_text("{")
    elif how == "text":
        file.with_name("vectors.json").write_text('{"model_sha256": 3}')
    else:
        file.with_name("vectors.json").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    "how", ["cut", "flipped", "empty", "array", "shape", "width", "short", "norms", "nan", "json", "text", "bytes"]
)
def test_damaged_vectors_are_one_line(tmp_path: Path, refused: Refused, how: str) -> None:
    file = vector_folder(tmp_path / "given")
    damaged(file, how)
    said = refused({**TINY, "inputs": {"vectors": str(file)}})
    assert "inputs.vectors" in said and str(file.parent) in said
    with pytest.raises(ValueError, match="given"):
        load_vectors(file.parent)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("playbook_file", "looked for")),
        (b"roles: [", ("book.yaml", "not YAML")),
        (b"\xff\xfe\x00", ("book.yaml", "not UTF-8")),
        (b"- 1\n", ("book.yaml", "found list")),
        (b"reminders: []\n", ("book.yaml", "roles")),
        (b"roles: {QA Reviewer: {hints: 3}}\n", ("book.yaml", "roles.QA Reviewer.hints")),
        (b"roles: {QA Reviewer: {hint: []}}\n", ("book.yaml", "'hints'")),
    ],
)
def test_a_playbook_that_is_missing_or_none_is_one_line(
    tmp_path: Path, refused: Refused, content: bytes | None, words: tuple[str, ...]
) -> None:
    if content is not None:
        (tmp_path / "book.yaml").write_bytes(content)
    said = refused({**TINY, "model_name": "mock"}, "meta_orchestrator.playbook_file=book.yaml")
    assert all(word in said for word in words), said


def test_a_playbook_is_frozen_with_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, book = tmp_path / "beside" / "run.yaml", tmp_path / "beside" / "book.yaml"
    path.parent.mkdir()
    book.write_text(PLAYBOOK)
    path.write_text(yaml.safe_dump({**TINY, "model_name": "mock", "meta_orchestrator": {"playbook_file": "book.yaml"}}))
    monkeypatch.chdir(tmp_path)
    config, hashes = frozen(path)
    again, same = frozen(path, "meta_orchestrator={playbook_file: book.yaml}")
    assert again == config and same == hashes
    book.write_text(PLAYBOOK.replace("doubt", "trust"))
    assert frozen(path)[1] != hashes
    book.unlink()
    planned = RunConfig(**{key: value for key, value in config.items() if key not in ("phases", "study")})
    duties = {resident.role: resident.goals[0] for resident in sample_residents(planned)}
    assert duties["QA Reviewer"] == "doubt" and duties["Field Researcher"] == "field researcher"
    (tmp_path / "book.yaml").write_text(PLAYBOOK)
    assert frozen(path)[1] == hashes


def test_an_override_may_not_name_a_file(refused: Refused) -> None:
    overrides = {"other": {"meta_orchestrator": {"playbook_file": "book.yaml"}}}
    said = refused({**TINY, "study": {"name": "society", "overrides": overrides}})
    assert "study.overrides.other.meta_orchestrator.playbook_file" in said and "whole study" in said


def test_the_command_line_is_nearer_than_every_file(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "blocks.yaml").write_text("layers: [1, 3]\n")
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({**TINY, "steering": {"coefficients": {"E": 0.1, "A": 0.1}}}))
    named = "steering.metadata_files.vectors=blocks.yaml"
    assert frozen(path, named)[0]["steering"]["layers"] == [1, 3]
    assert frozen(path, "steering.layers=[0]")[0]["steering"]["layers"] == [0]
    assert frozen(path, "steering.coefficients={E: 0.5}")[0]["steering"]["coefficients"]["A"] == 0.0
    assert "--set: the blocks are [2] by layers, [1, 3] by blocks.yaml" in refused(TINY, named, "layers=[2]")


def gguf_file(path: Path, family: str = "llama") -> Path:
    """Write a GGUF file with a header and no weights: four blocks of width 24."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(4)
    writer.add_embedding_length(24)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_blocks_and_width_of_a_gguf_file_are_known_by_its_header(tmp_path: Path, refused: Refused) -> None:
    config = {**TINY, "model_name": str(gguf_file(tmp_path / "small.gguf"))}
    assert "found 4" in refused(config, "layers=[4]") and "blocks 0 to 3" in refused(config, "layers=[4]")
    assert "study.eval_layers: found 9" in refused(config, "study={name: society, eval_layers: [9]}")
    file = vector_folder(tmp_path / "given")
    assert "width is 32, the model's is 24" in refused({**config, "inputs": {"vectors": str(file)}})
    path = tmp_path / "tuned.yaml"
    path.write_text(yaml.safe_dump({**config, "study": {"name": "society", "tune": {"trials": 2}}}))
    resolved, _ = frozen(path)
    planned = RunConfig(**{key: value for key, value in resolved.items() if key != "phases"})
    (tmp_path / "small.gguf").unlink()
    search = next(phase.search for phase in phases(planned) if phase.name == "tune")
    assert search is not None and dict(search.space)["first"] == dict(phases_of_tiny().space)["first"]


def phases_of_tiny() -> Any:
    """Return the search of the small random model, which has four blocks, too."""
    config = RunConfig(**{**TINY, "study": {"tune": {"trials": 2, "blocks": 4}}})
    return next(phase.search for phase in phases(config) if phase.name == "tune")


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    file = gguf_file(tmp_path / "small.gguf")
    whole = file.read_bytes()
    for name, content in (("foreign", b"%PDF-1.7"), ("empty", b""), ("cut", whole[:40]), ("bare", b"GGUF" + bytes(60))):
        (tmp_path / f"{name}.gguf").write_bytes(content)
        said = refused({**TINY, "model_name": str(tmp_path / f"{name}.gguf")})
        assert f"{name}.gguf: not a readable GGUF model" in said
    folder = tmp_path / "folder"
    folder.mkdir()
    for content, words in (
        ("{", "not a readable config"),
        ('{"model_type": "llama"}', "'num_hidden_layers' is missing"),
    ):
        (folder / "config.json").write_text(content)
        assert words in refused({**TINY, "model_name": str(folder)})
    monkeypatch.setattr("quintet.jobs.society.backend.shapes.importlib.util.find_spec", lambda name: None)
    file.write_bytes(whole + bytes(32))
    assert "needs the package gguf; install it" in refused({**TINY, "model_name": str(file)})


def model_folder(folder: Path, kind: str) -> Path:
    """Write a model folder of a kind with two megabytes of weights that nobody reads."""
    folder.mkdir()
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": 64, **sizes}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**19], "data_offsets": [0, 2**21]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2**21))
    return folder


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("qwen2", (), "a Llama-type model"),
        ("gguf-qwen2", (), "a Llama-type model"),
        ("llama", ("inference.dtype=bfloat16",), "not bfloat16 on cpu"),
        ("llama", ("optimization.devices=[cuda:0]",), "on cuda:0"),
    ],
)
def test_int8dyn_is_refused_where_it_is_known_not_to_run(
    tmp_path: Path, refused: Refused, kind: str, settings: tuple[str, ...], words: str
) -> None:
    model = gguf_file(tmp_path / "m.gguf", "qwen2") if kind == "gguf-qwen2" else model_folder(tmp_path / "m", kind)
    config = {**TINY, "model_name": str(model), "optimization": {"use_quantization": "int8dyn"}}
    said = refused(config, *settings)
    assert "found 'int8dyn'" in said and words in said and "allowed are none, nf4, int8" in said


def test_int8dyn_is_refused_below_a_memory_cap_that_offloads(tmp_path: Path, refused: Refused) -> None:
    pytest.importorskip("torch")
    model = model_folder(tmp_path / "m", "llama")
    capped = {"use_quantization": "int8dyn", "max_cpu_memory_gb": 0.001}
    config = {**TINY, "model_name": str(model), "optimization": capped}
    assert "stays whole in memory" in refused(config)
    path = tmp_path / "fits.yaml"
    path.write_text(yaml.safe_dump({**config, "optimization": {**capped, "max_cpu_memory_gb": 1}}))
    assert frozen(path)[0]["optimization"]["use_quantization"] == "int8dyn"


@pytest.mark.parametrize("more", [{}, {"model_name": "mock"}, {"optimization": {"max_cpu_memory_gb": 4}}])
def test_an_offload_folder_that_cannot_be_made_is_refused_whatever_else_is_set(
    tmp_path: Path, refused: Refused, more: dict[str, Any]
) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("/proc/none", str(tmp_path / "file" / "below"), str(tmp_path / "file")):
        said = refused({**TINY, **more}, f"optimization.offload_folder={folder}")
        assert "optimization.offload_folder" in said and folder in said
    path = tmp_path / "good.yaml"
    path.write_text(yaml.safe_dump({**TINY, "optimization": {"offload_folder": str(tmp_path / "a" / "b")}}))
    before = sorted(tmp_path.iterdir())
    frozen(path)
    assert sorted(tmp_path.iterdir()) == before


def test_threads_enter_every_hash_and_ask_for_their_cpus(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(TINY))
    _, one = frozen(path)
    config, two = frozen(path, "engine.threads=2")
    assert one.keys() == two.keys() and all(one[phase] != two[phase] for phase in one)
    assert frozen(path, "engine.threads=1")[1] == one
    config.pop("phases")
    assert [phase.resources.cpus for phase in phases(RunConfig(**config))] == [2] * 3
    pair = RunConfig(**{**TINY, "study": {}, "engine": {"threads": 2}, "optimization": {"devices": ["cpu:0", "cpu:1"]}})
    assert {phase.resources.cpus for phase in phases(pair)} == {4}
    assert [
        phase.resources.cpus for phase in phases(RunConfig(run_id="x", model_name="mock", engine={"threads": 2}))
    ] == [1]
    gpus = RunConfig(run_id="x", optimization={"devices": ["cuda:0", "cuda:1"]})
    assert {phase.resources.gpus for phase in phases(gpus) if phase.name != "model"} == {2}


def test_nan_in_a_score_is_a_failed_trial_and_an_undefined_evaluation(tiny_vectors: PersonaVectors) -> None:
    broken = load_backend("tiny-random")
    broken.engine.weights.norm[0] = float("nan")
    voices: Any = SimpleNamespace(backend=broken, vectors=tiny_vectors)
    config = RunConfig(**{**TINY, "study": {}})
    parameters = {"blocks": 1, "first": 2, "stride": 2, **{f"gain_{trait}": 1.0 for trait in "EACON"}}
    trial = model_phases.tuning_trial(voices, config, parameters)
    assert "NaN in the logits" in trial["failure"] and np.isnan(trial["value"])
    rows = model_phases.evaluation_rows(voices, config, range(2))
    for dataset in next(phase for phase in phases(config) if phase.name == "eval-vectors").datasets:
        assert rows[dataset.name].shape == (2, *dataset.shape)
    assert np.isnan(rows["rows/gaps"]).all()
