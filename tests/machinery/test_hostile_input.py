"""Hostile configs, settings and environments end with one line and their code, and write nothing."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quintet.shard.commands.base import run_command
from quintet.shard.commands.plan import command as plan_command
from quintet.shard.commands.shard import command as shard_command
from quintet.shard.commands.status import command as status_command
from quintet.shard.errors import Exit
from quintet.shard.run import Run

from .elements import finish, forked, merged_payload, planned, quiet_payload, run_element, waited

USAGE, CALL = int(Exit.USAGE), int(Exit.BAD_CALL)
STUDY = "study: complementarity\n"
MOST_CPU_S = 20
MOST_BYTES = 4 << 30
HARMLESS = 0


def bomb(first: str, entry: str, width: int = 9, height: int = 9) -> str:
    """Return aliases of aliases: a few hundred bytes that say `width` to the power of `height` values."""
    names = [f"n{level}" for level in range(height + 1)]
    lines = [f"{names[0]}: &{names[0]} {first}"]
    for below, name in pairwise(names):
        lines.append(f"{name}: &{name} " + entry.format(",".join([f"*{below}"] * width)))
    return "\n".join(lines) + "\n"


CONFIGS: dict[str, str | bytes] = {
    "alias bomb": STUDY + bomb("[x, x]", "[{}]"),
    "mapping bomb": STUDY + bomb("{k: v}", "{{a: [{}]}}"),
    "merge key bomb": STUDY + bomb("{k: v}", "{{<<: [{}]}}"),
    "alias of itself": STUDY + "a: &a [*a]\n",
    "merge of itself": STUDY + "a: &a\n  <<: *a\n",
    "unknown alias": STUDY + "a: *nowhere\n",
    "deep list": STUDY + "a: " + "[" * 20_000,
    "deep mapping": STUDY + "a: " + "{a: " * 5000 + "1" + "}" * 5000,
    "10 MB": STUDY + "#" * (10 << 20),
    "1 MB of values": STUDY + "a: [" + "1," * 400_000 + "]",
    "python object": STUDY + "a: !!python/object/apply:os.system ['touch owned']\n",
    "python name": STUDY + "a: !!python/name:os.system\n",
    "own tag": STUDY + "a: !mine {a: 1}\n",
    "NUL": STUDY + "a: x\0y\n",
    "NUL by its name": STUDY + 'inputs: {database: "a\\0b"}\n',
    "not UTF-8": STUDY.encode() + b"a: \xff\xfe\n",
    "random bytes": bytes(range(256)) * 9,
    "empty": "",
    "a list": "[1, 2]\n",
    "two documents": STUDY + "---\n" + STUDY,
    "number keys": STUDY + "1: 2\n",
    "null key": STUDY + "~: 2\n",
    "key twice": STUDY + "seed: 1\nseed: 2\n",
    "key twice in a section": STUDY + "search: {n_trials: 3, n_trials: 4}\n",
    "unknown section": STUDY + "serach: {}\n",
    "shell in the study": "study: $(touch owned)\n",
    "newline in the study": 'study: "complementarity\\nx"\n',
    "path in the study": "study: ../complementarity\n",
    "module of the machinery as study": "study: publish\n",
    "module path as study": "study: trials.store\n",
    "dots as study": "study: a..b\n",
    "number as study": "study: 3\n",
    "template from elsewhere": STUDY + "template: /etc/passwd\n",
    "template above": STUDY + "template: ../other.yaml\n",
    "template with NUL": STUDY + 'template: "a\\0b"\n',
    "template of itself": STUDY + "template: config.yaml\n",
    "template that is a pipe": STUDY + "template: pipe\n",
    "template that is a folder": STUDY + "template: folder\n",
    "template that is a device": STUDY + "template: zero\n",
    "seed of 20000 digits": STUDY + "seed: 0x" + "f" * 20_000 + "\n",
    "trials of 20000 digits": STUDY + "search: {n_trials: 0x" + "f" * 20_000 + "}\n",
    "seed as date": STUDY + "seed: 2020-01-01\n",
    "impossible date": STUDY + "seed: 2020-99-99\n",
    "seed as set": STUDY + "seed: !!set {a, b}\n",
    "NaN": STUDY + "phases: {search: {checkpoint_s: .nan}}\n",
    "infinity": STUDY + "phases: {search: {target_minutes: .inf}}\n",
    "newline in a partition": STUDY + 'phases: {search: {partition: "a\\n#SBATCH --uid=0"}}\n',
    "shell in a partition": STUDY + 'phases: {search: {partition: "$(id)"}}\n',
    "option as partition": STUDY + "phases: {search: {partition: --wrap=id}}\n",
    "unknown phase": STUDY + "phases: {$(id): {}}\n",
    "unknown resource": STUDY + "phases: {search: {uid: 0}}\n",
    "text for a number": STUDY + 'phases: {search: {mem_mb: "1; id"}}\n',
    "truth for a number": STUDY + "phases: {search: {cpus: true}}\n",
    "input of 5000 letters": STUDY + "inputs: {database: " + "x" * 5000 + "}\n",
    "input with a number for a key": STUDY + "inputs: {1: /etc/passwd}\n",
    "input that is a list": STUDY + "inputs: {database: [a]}\n",
    "inputs that are a list": STUDY + "inputs: [a]\n",
}


def planning(folder: Path, config: Path, *more: str) -> tuple[int, str]:
    """Plan in a process with bounded time and memory; return its exit code and what it said."""
    log = folder / "log"
    log.unlink(missing_ok=True)

    def plan() -> None:
        os.chdir(folder)
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + MOST_CPU_S,) * 2)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        run_command(plan_command, [str(config), "--run", str(folder / "run"), "--no-probe", *more])

    return waited(forked(plan, log)), log.read_text()


def one_line_and_nothing_written(folder: Path, said: str) -> None:
    assert len(said.strip().splitlines()) == 1, said[-2000:]
    assert "Traceback" not in said
    assert len(said) < 6000
    assert not (folder / "run").exists()
    assert not list(folder.rglob("owned"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with things beside a config that are no configs."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    return tmp_path


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_2_in_one_line_and_nothing_is_written(place: Path, name: str) -> None:
    config, content = place / "config.yaml", CONFIGS[name]
    config.write_bytes(content if isinstance(content, bytes) else content.encode())
    begun = time.process_time()
    code, said = planning(place, config)
    assert code == USAGE, said[-2000:]
    one_line_and_nothing_written(place, said)
    assert time.process_time() - begun < MOST_CPU_S


@pytest.mark.parametrize(
    "setting",
    [
        "seed",
        "=1",
        "a..b=1",
        "seed=" + "[" * 3000,
        "seed=" + "1" * 5000,
        "seed=0x" + "f" * 20_000,
        "seed=!!python/name:os.system",
        "seed.deeper=1",
        "search.n_trials=.nan",
        "search.n_trials=$(id)",
        "study=../x",
        "study=errors",
        "phases.search.partition='a b'",
        "__class__=1",
        "seed=&a [*a]",
        "\n=1",
    ],
    ids=lambda setting: setting[:20],
)
def test_a_hostile_setting_is_2_in_one_line_and_nothing_is_written(place: Path, setting: str) -> None:
    (place / "config.yaml").write_text(STUDY)
    code, said = planning(place, place / "config.yaml", "--set", setting)
    assert code == USAGE, said[-2000:]
    one_line_and_nothing_written(place, said)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
SECTIONS = st.sampled_from(["seed", "search", "simulate", "select", "figures", "phases", "inputs", "study", "other"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(SECTIONS, VALUES, max_size=3))
def test_any_config_is_planned_or_refused_and_never_a_bug(
    tmp_path_factory: pytest.TempPathFactory, content: Mapping[str, object]
) -> None:
    place = tmp_path_factory.mktemp("any")
    (place / "config.yaml").write_text(yaml.safe_dump({"study": "complementarity", **content}))
    code, said = planning(place, place / "config.yaml")
    assert code in {HARMLESS, USAGE}, said
    if code == USAGE:
        one_line_and_nothing_written(place, said)


ENVIRONMENTS: dict[str, tuple[dict[str, str], int]] = {
    "task that is text": ({"SLURM_ARRAY_TASK_ID": "$(id)"}, CALL),
    "task below zero": ({"SLURM_ARRAY_TASK_ID": "-1"}, CALL),
    "task of 5000 digits": ({"SLURM_ARRAY_TASK_ID": "9" * 5000}, CALL),
    "task beyond the plan": ({"SLURM_ARRAY_TASK_ID": "99"}, CALL),
    "empty task": ({"SLURM_ARRAY_TASK_ID": ""}, CALL),
    "shard that is a path": ({"QUINTET_SHARD": "../0"}, CALL),
    "shard of 5000 digits": ({"QUINTET_SHARD": "9" * 5000}, CALL),
    "umask that is text": ({"QUINTET_UMASK": "rwx", "QUINTET_SHARD": "0"}, USAGE),
    "umask without digits": ({"QUINTET_UMASK": "", "QUINTET_SHARD": "0"}, USAGE),
    "deadline that is no number": ({"QUINTET_DEADLINE": "nan", "QUINTET_SHARD": "0"}, HARMLESS),
    "deadline that is text": ({"QUINTET_DEADLINE": "$(id)", "QUINTET_SHARD": "0"}, HARMLESS),
    "scratch that is gone": ({"TMPDIR": "/nowhere/at/all", "QUINTET_SHARD": "0"}, HARMLESS),
    "scratch of Slurm that is gone": ({"SLURM_TMPDIR": "/nowhere/at/all", "QUINTET_SHARD": "0"}, HARMLESS),
    "scratch that is a file": ({"TMPDIR": "/etc/passwd", "QUINTET_SHARD": "0"}, HARMLESS),
    "job that is a path": ({"SLURM_ARRAY_JOB_ID": "../../../x", "SLURM_ARRAY_TASK_ID": "0"}, HARMLESS),
    "node with a newline": ({"SLURMD_NODENAME": "n1\nrc=0", "QUINTET_SHARD": "0"}, HARMLESS),
    "unknown time zone": ({"TZ": "../../etc/passwd", "QUINTET_SHARD": "0"}, HARMLESS),
    "unknown language": ({"LC_ALL": "xx_XX.nothing", "QUINTET_SHARD": "0"}, HARMLESS),
    "image of 100 kB": ({"QUINTET_IMAGE_ID": "x" * 100_000, "QUINTET_SHARD": "0"}, HARMLESS),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_hostile_environment_has_its_code_and_leaves_nothing_outside_the_run(tmp_path: Path, name: str) -> None:
    values, code = ENVIRONMENTS[name]
    run, log = planned(tmp_path / "run", "measure"), tmp_path / "log"
    arguments = [str(run.path), "measure"]

    def attempt() -> None:
        os.chdir(tmp_path)
        for key in [key for key in os.environ if key.startswith(("SLURM", "QUINTET"))]:
            del os.environ[key]
        os.environ.update(values)
        run_command(shard_command, [*arguments, "--keep-logs"])

    assert waited(forked(attempt, log)) == code, log.read_text()
    if code != HARMLESS:
        assert len(log.read_text().strip().splitlines()) == 1, log.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "run"]
    finish(run, "measure")
    assert merged_payload(run, "measure") == quiet_payload(tmp_path / "quiet", "measure")


def test_a_run_that_anyone_may_write_is_refused_and_nothing_it_writes_is_open_to_all(tmp_path: Path) -> None:
    run, log = planned(tmp_path / "run", "measure"), tmp_path / "log"
    run.path.chmod(0o777)
    assert run_element(run, "measure", 0, log=log) == USAGE
    assert "--trust-world-writable" in log.read_text()
    run.path.chmod(0o750)
    assert run_element(run, "measure", 0, lambda: os.environ.update(QUINTET_UMASK="000")) == 0
    written = [path for name in ("partials", "attempts") for path in (run.path / name).rglob("*")]
    assert written and not any(path.stat().st_mode & 0o002 for path in written)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema": "quintet.plan/9"}', '{"schema": "quintet.plan/1"}'])
def test_a_hostile_plan_file_is_78_in_one_line(tmp_path: Path, content: str) -> None:
    run, log = planned(tmp_path / "run", "measure"), tmp_path / "log"
    (run.plan_folder / "measure.json").write_text(content)
    assert run_element(run, "measure", 0, log=log) == int(Exit.MISMATCH), log.read_text()[-2000:]
    assert len(log.read_text().strip().splitlines()) == 1


@pytest.mark.parametrize(("phase", "verb"), [("measure", shard_command), ("run", status_command)])
def test_a_plan_file_with_another_byte_is_78_in_one_line(tmp_path: Path, phase: str, verb: click.Command) -> None:
    run, log = planned(tmp_path / "run", "measure"), tmp_path / "log"
    path = run.plan_folder / f"{phase}.json"
    content = path.read_bytes()
    path.write_bytes(content[:-10] + bytes([content[-10] ^ 1]) + content[-9:])
    words = [str(run.path)] + (["measure", "--index", "0"] if verb is shard_command else [])
    assert waited(forked(lambda: run_command(verb, words), log)) == int(Exit.MISMATCH), log.read_text()[-2000:]
    assert "damaged, or edited since it was planned" in log.read_text() and log.read_text().count("\n") == 1


@pytest.mark.parametrize("content", ["", "x", "1 2 $(id)", "-1", "9" * 5000, "99"])
def test_a_hostile_map_file_is_64_in_one_line(tmp_path: Path, content: str) -> None:
    run, log = planned(tmp_path / "run", "measure"), tmp_path / "log"
    (tmp_path / "map").write_text(content)

    def attempt() -> None:
        os.environ["SLURM_ARRAY_TASK_ID"] = "2" if " " in content else "0"
        run_command(shard_command, [str(run.path), "measure", "--map", str(tmp_path / "map")])

    assert waited(forked(attempt, log)) == CALL, log.read_text()[-2000:]
    assert len(log.read_text().strip().splitlines()) == 1
    assert not Run(run.path).shard_file("measure", 0).exists()
