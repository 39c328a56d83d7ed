"""Configs: inheritance, defaults, and one clear line for what is not allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from quintet.jobs.society import RunConfig, load_config, merge_templates
from quintet.jobs.society.conditions import conditions, dose_changes, unit_of
from quintet.jobs.society.config import InferenceSection, OptimizationSection, StudySection

from .golden_files import golden

FILE = "steering: {metadata_files: {vectors: blocks.yaml}}\n"
HASTY = {"hasty": {"policy": {"kind": "heuristic"}}}
ERRORS = {"ValueError": ValueError, "FileNotFoundError": FileNotFoundError}
CASES = golden("units")["template_merge"]


@pytest.mark.parametrize("files, entry, expected", CASES, ids=range(len(CASES)))
def test_templates_merge_as_recorded(tmp_path: Path, files: Any, entry: str, expected: Any) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(yaml.safe_dump(content))
    if "ERROR" in expected:
        with pytest.raises(ERRORS[expected["ERROR"]]) as refusal:
            merge_templates(tmp_path / entry)
        assert Path(entry).stem in str(refusal.value)
    else:
        assert merge_templates(tmp_path / entry) == expected


def test_defaults_are_the_documented_ones() -> None:
    config = RunConfig(run_id="x")
    assert (config.model_name, config.population, config.steps, config.seed) == ("smollm2-135m", 32, 200, 7)
    assert config.steering.coefficients == {"E": 0.8, "A": 0.5, "C": 0.6, "O": 0.0, "N": 0.0}
    assert config.steering.layers == [16]
    assert config.inference.repetition_penalty == 1.15
    assert RunConfig(run_id="x", inference={"do_sample": False}).inference.repetition_penalty == 1.0
    assert config.reflection.rule == "lazy"
    assert RunConfig(run_id="x", policy={"kind": "heuristic"}).reflection.rule == "reference"
    assert RunConfig(run_id="x", layers=[3, 4]).steering.layers == [3, 4]
    assert RunConfig(run_id="x", steering=None, optimization=None) == config
    assert RunConfig(run_id="x", optimization={"batch_size": 5}).inference.batch_size == 5
    assert RunConfig(run_id="x", optimization={"use_quantization": True}).optimization.use_quantization == "nf4"
    assert RunConfig(**config.model_dump()) == config
    assert RunConfig(**config.model_dump(mode="json")) == config


BAD = [
    ({"stepss": 3}, "'steps'"),
    ({"steering": {"strenght": 1}}, "'strength'"),
    ({"steering": {"strength": -1}}, "steering.strength"),
    ({"steering": {"coefficients": {"E": 1.5}}}, "from -1 to 1"),
    ({"steering": {"coefficients": {"X": 0.5}}}, "found trait 'X'"),
    ({"steering": {"vector_norm": {"E": 0}}}, "above 0"),
    ({"population": 0}, "population"),
    ({"inference": {"max_new_tokens": 0}}, "max_new_tokens"),
    ({"inference": {"top_p": 0}}, "top_p"),
    ({"inference": {"top_p": 1.1}}, "top_p"),
    ({"inference": {"adaptive_tokens": {"dance": 3}}}, "'dance'"),
    ({"optimization": {"max_cpu_memory_gb": 0}}, "max_cpu_memory_gb"),
    ({"optimization": {"max_gpu_memory_gb": "much"}}, "max_gpu_memory_gb"),
    ({"model_name": "mock", "optimization": {"use_quantization": "nf4"}}, "nothing to quantize"),
    ({"steering": {"mode": "prompt"}}, "persona_prompt"),
    ({"model_name": "tiny-random", "inference": {"dtype": "bfloat16"}}, "allowed are auto, float32"),
    ({"run_id": "a b"}, "run_id"),
    ({"objectives": {"templates": {"x": {"type": "t", "requirements": {"steal": 1}}}}}, "'steal'"),
]


@pytest.mark.parametrize("keys, text", BAD, ids=[text for _, text in BAD])
def test_what_is_not_allowed_is_named(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        RunConfig(**{"run_id": "x", **keys})
    assert text in str(refusal.value)


def test_metadata_files_fill_what_the_config_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "people.yaml").write_text("mean: {E: 0.9}\n")
    (tmp_path / "blocks.yaml").write_text("layers: [4, 5]\nvector_norm: {E: 2.0}\n")
    config = tmp_path / "run.yaml"
    section = "steering: {metadata_files: {personas: people.yaml, vectors: blocks.yaml}}\n"
    config.write_text(f"run_id: x\n{section}")
    loaded = load_config(config)
    assert loaded.personas.mean["E"] == 0.9
    assert loaded.layers == [4, 5] and loaded.steering.vector_norm["E"] == 2.0
    config.write_text("run_id: x\nsteering: {metadata_files: {vectors: none.yaml}}\n")
    with pytest.raises(FileNotFoundError, match=r"none\.yaml: looked for"):
        load_config(config)


@pytest.mark.parametrize(
    "nearer, template, layers, gain",
    [
        (FILE, "layers: [7]\n", [4, 5], 2.0),
        (FILE, "steering: {layers: [7], vector_norm: {E: 3.0}}\n", [4, 5], 2.0),
        ("layers: [7]\n", FILE, [7], 2.0),
        ("steering: {layers: [7]}\n", FILE, [7], 2.0),
        ("steering: {layers: [7]}\n", "layers: [9]\n", [7], 1.0),
        (f"{FILE}layers: [4, 5]\n", "layers: [9]\n", [4, 5], 2.0),
        ("steering: {metadata_files: null}\n", FILE, [16], 1.0),
    ],
)
def test_what_names_the_blocks_nearest_wins(
    tmp_path: Path, nearer: str, template: str, layers: list[int], gain: float
) -> None:
    (tmp_path / "blocks.yaml").write_text("layers: [4, 5]\nvector_norm: {E: 2.0}\n")
    (tmp_path / "template.yaml").write_text(template)
    (tmp_path / "run.yaml").write_text(f"template: template.yaml\nrun_id: x\n{nearer}")
    loaded = load_config(tmp_path / "run.yaml")
    assert loaded.layers == layers and loaded.steering.vector_norm["E"] == gain


def test_blocks_that_one_file_names_twice_must_agree(tmp_path: Path) -> None:
    (tmp_path / "blocks.yaml").write_text("layers: [4, 5]\n")
    for named in (f"{FILE}layers: [7]\n", FILE.replace("}}", "}, layers: [7]}")):
        (tmp_path / "run.yaml").write_text(f"run_id: x\n{named}")
        with pytest.raises(ValueError, match=r"run\.yaml: the blocks are \[7\] by .*layers, \[4, 5\] by blocks\.yaml"):
            load_config(tmp_path / "run.yaml")


def test_overrides_ask_for_defaults_again_where_the_config_leaves_them_open() -> None:
    overrides = {"plan": {"policy": {"kind": "heuristic"}}, "greedy": {"inference": {"temperature": 0}}}
    open_config = RunConfig(run_id="s", study={"overrides": overrides})
    assert overrides == {"plan": {"policy": {"kind": "heuristic"}}, "greedy": {"inference": {"temperature": 0}}}
    said = RunConfig(
        run_id="s",
        reflection={"rule": "lazy"},
        inference={"repetition_penalty": 1.3},
        study={"overrides": overrides},
    )
    for config, rule, penalty in ((open_config, "reference", 1.0), (said, "lazy", 1.3)):
        frozen = RunConfig(**config.model_dump(mode="json"))
        assert frozen == config
        planned, greedy = (one.config(frozen, 0) for one in conditions(frozen))
        assert (planned.reflection.rule, greedy.inference.repetition_penalty) == (rule, penalty)
        assert (greedy.reflection.rule, planned.inference.repetition_penalty) == ("lazy", max(penalty, 1.15))


def test_sections_that_are_passed_stay_as_they_are() -> None:
    optimization, inference, study = (
        OptimizationSection(batch_size=5),
        InferenceSection(),
        StudySection(overrides=HASTY),
    )
    before = [section.model_dump() for section in (optimization, inference, study)]
    for _ in range(2):
        config = RunConfig(run_id="x", optimization=optimization, inference=inference, study=study)
        assert config.inference.batch_size == 5 and config.inference.repetition_penalty == 1.15
    assert [section.model_dump() for section in (optimization, inference, study)] == before


def test_token_limits_follow_the_kind_of_action() -> None:
    section = RunConfig(run_id="x").inference
    assert section.limit("talk", 1.0) == 48 and section.limit("move", 1 / 6) == 8
    mapped = RunConfig(run_id="x", inference={"adaptive_tokens": {"talk": 20, "work": 0.5, "rest": 0}}).inference
    assert [mapped.limit(kind, 1.0) for kind in ("talk", "work", "rest", "argue")] == [20, 24, 0, 48]
    assert RunConfig(run_id="x", inference={"adaptive_tokens": False}).inference.limit("move", 1 / 6) == 48


def test_doses_are_linear_whatever_the_gain() -> None:
    base = RunConfig(run_id="x", model_name="mock", steering={"vector_norm": {"E": 2.0}})
    steering = [dose_changes(base, "targeted", "E", dose)["steering"] for dose in (-2, -1, 0, 1, 2)]
    assert [each["coefficients"]["E"] * each["vector_norm"]["E"] for each in steering] == [-4, -2, 0, 2, 4]


def test_conditions_stand_in_order_with_their_references() -> None:
    config = RunConfig(
        run_id="s",
        model_name="mock",
        study={"arms": ["targeted", "placebo", "disabled"], "single_traits": ["E", "N"], "replicates": 3},
    )
    names = [condition.id for condition in conditions(config)]
    assert names[0] == "disabled-base"
    assert names[1:6] == ["targeted-E-2", "targeted-E-1", "targeted-E+0", "targeted-E+1", "targeted-E+2"]
    assert len(names) == 1 + 2 * 2 * 5
    high = conditions(config)[5]
    assert high.reference == "targeted-E+0"
    unit = high.config(config, 2)
    assert unit.seed == 9 and unit.steering.coefficients["E"] == 1.0 and unit.steering.vector_norm["E"] == 2.0
    assert unit.personas.fixed_traits == ["E"]
    assert unit_of(config, len(names) + 5) == (high, 1)
    plain = RunConfig(run_id="s", study={"strengths": [0.5, 1], "overrides": {"deep": {"layers": [20]}}})
    assert [condition.id for condition in conditions(plain)] == ["targeted-base-s0.5-deep", "targeted-base-s1-deep"]
    assert conditions(plain)[0].config(plain, 0).layers == [20]
