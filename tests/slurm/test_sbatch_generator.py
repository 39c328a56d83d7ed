"""Batch scripts hold checked and quoted values only, whatever a config, a site file or a path contains."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.site import EXTRA, Site, read_site
from quintet.slurm.sbatch import Job, array_script, clock, merge_script, signal_seconds, template

PROJECT = Path(__file__).resolve().parents[2]
RESOURCES = {"cpus": 2, "mem_mb": 1500, "gpus": 1, "time_s": 7200, "threads": 2}
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "a\n#SBATCH --uid=0",
            "a\nrm -rf $HOME",
            "$(touch /tmp/owned)",
            "`id`",
            "x; id",
            "a b",
            "'",
            '"',
            "\\",
            "@RUN@",
            "@DIRECTIVES@",
            "a\0b",
            "--wrap=id",
            "\u2028",
            "-x",
            "a\r",
            "",
        ]
    ),
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def job(run: str = "/data/run", python: str = "/env/bin/python", more: Mapping[str, object] | None = None) -> Job:
    return Job(Path(run), "toy", "simulate", python, {**RESOURCES, **(more or {})})


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


def assert_follows_template(script: str, name: str) -> None:
    """Hold a script against its template line by line: nothing but the placeholders may differ."""
    lines = script.splitlines()
    for line in template(name).splitlines():
        if line == "@DIRECTIVES@":
            while lines and lines[0].startswith("#SBATCH "):
                assert re.fullmatch(r"#SBATCH --[a-z-]+(=[A-Za-z0-9_.:@+,/&|*()\[\]-]+)?", lines.pop(0))
            continue
        pattern = ".*".join(re.escape(part) for part in re.split(r"@[A-Z_]+@", line))
        found = lines.pop(0)
        assert re.fullmatch(pattern, found), f"{found!r} does not follow {line!r}"
    assert lines == []
    parsed = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert parsed.returncode == 0, parsed.stderr


def assigned(script: str, name: str) -> str:
    """Return what bash would assign to a variable by a script's line, without running the script."""
    line = next(line for line in script.splitlines() if line.startswith(f"{name}="))
    (word,) = shlex.split(line)
    return word.removeprefix(f"{name}=")


def test_plain_script_follows_the_template_and_asks_for_what_the_plan_says() -> None:
    script = array_script(
        Site(partition="short,long", account="lab"), job(), Path("/data/run/slurm/simulate-1.map"), 1500
    )
    assert_follows_template(script, "array.sbatch.in")
    assert directives(script) == [
        "--job-name=toy.simulate",
        "--partition=short,long",
        "--account=lab",
        "--output=/dev/null",
        "--open-mode=append",
        "--requeue",
        "--signal=B:USR1@180",
        "--time=02:00:00",
        "--cpus-per-task=2",
        "--mem=1500M",
        "--gres=gpu:1",
    ]
    assert "--wrap" not in script
    assert "--export" not in script
    merge = merge_script(Site(), job(), 2, True)
    assert_follows_template(merge, "merge.sbatch.in")
    assert assigned(merge, "rounds") == "2"
    assert assigned(merge, "gate") == "yes"


@FEW
@given(path=HOSTILE, python=HOSTILE, scratch=HOSTILE)
def test_hostile_paths_are_quoted_or_refused(path: str, python: str, scratch: str) -> None:
    run = f"/data/{path}"
    try:
        site = Site(scratch=f"/scratch/{scratch}")
        script = array_script(site, job(run, python=python), Path(f"{run}/slurm/a.map"), 10)
    except (QuintetError, ValueError) as error:
        assert isinstance(error, ValueError) or error.code is Exit.USAGE
        return
    assert_follows_template(script, "array.sbatch.in")
    assert assigned(script, "run") == str(Path(run))
    assert assigned(script, "map") == str(Path(f"{run}/slurm/a.map"))
    assert assigned(script, "scratch") == f"/scratch/{scratch}"


@FEW
@given(value=HOSTILE, key=st.sampled_from(["partition", "account", "qos", "phase", "study", "extra", "modules"]))
def test_hostile_words_never_reach_a_script(value: str, key: str) -> None:
    try:
        wish = {key: [value] if key in {"extra", "modules"} else value}
        site = Site.model_validate(wish if key in Site.model_fields else {})
        phase = value if key == "phase" else "simulate"
        study = value if key == "study" else "toy"
        work = Job(Path("/data/run"), study, phase, "python3", RESOURCES)
        scripts = [array_script(site, work, Path("/data/run/a.map"), 10), merge_script(site, work, 0, False)]
    except (QuintetError, ValueError) as error:
        assert isinstance(error, ValueError) or error.code is Exit.USAGE
        return
    assert re.fullmatch(r"[A-Za-z0-9_.:@+,/-]+", value)
    for script, name in zip(scripts, ("array.sbatch.in", "merge.sbatch.in"), strict=True):
        assert_follows_template(script, name)


@FEW
@given(key=st.sampled_from(sorted(EXTRA)), value=HOSTILE)
def test_extra_directives_with_hostile_values_stay_one_line(key: str, value: str) -> None:
    try:
        site = Site(extra=[f"--{key}={value}"])
    except ValueError:
        return
    script = array_script(site, job(), Path("/data/run/a.map"), 10)
    assert_follows_template(script, "array.sbatch.in")
    assert f"#SBATCH --{key}={value}" in script.splitlines()


@pytest.mark.parametrize(
    "extra",
    [
        "--wrap=id",
        "--uid=0",
        "--gid=0",
        "--export=ALL",
        "--array=0-5",
        "--output=/etc/passwd",
        "--constraint=a\n#SBATCH --uid=0",
        "--constraint=a\n",
        "--comment=a b",
        "--comment",
        "-p main",
        "--constraint='a'",
        "--constraint=$(id)",
        "constraint=a",
    ],
)
def test_forbidden_directives_are_refused_in_one_line(extra: str, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump({"extra": [extra]}))
    with pytest.raises(QuintetError) as raised:
        read_site(site)
    assert raised.value.code is Exit.USAGE
    assert "\n" not in str(raised.value)
    assert str(site) in str(raised.value)
    assert "extra" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("partiton: main", "partiton"),
        ("partition: 7", "partition"),
        ("partition: !!python/object/apply:os.system [id]", "YAML"),
        ("max_submit: 0", "max_submit"),
        ("max_submit: true", "max_submit"),
        ("lock_kind: soft", "lock_kind"),
        ("container: suite.sif", "container"),
        ("scratch: tmp", "scratch"),
        ("modules: gcc", "modules"),
        ("- a", "mapping"),
        ("1: a", "mapping"),
        ("{", "YAML"),
        ("partition: " + "x" * 600, "partition"),
        ("x" * (1 << 20) + "yyy", "larger"),
    ],
)
def test_bad_site_files_are_told_in_one_short_line(text: str, word: str, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(QuintetError) as raised:
        read_site(path)
    assert raised.value.code is Exit.USAGE
    assert word in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600 + len(str(path))


def test_shipped_site_file_is_valid_and_wishes_nothing() -> None:
    assert read_site(PROJECT / "configs" / "site.yaml") == Site()


@pytest.mark.parametrize(
    ("key", "value"),
    [("time_s", 0), ("time_s", "1\n#SBATCH"), ("cpus", 1.5), ("gpus", -1), ("threads", True), ("partition", "a b")],
)
def test_hostile_resources_are_refused(key: str, value: object) -> None:
    with pytest.raises(QuintetError) as raised:
        array_script(Site(), job(more={key: value}), Path("/data/run/a.map"), 10)
    assert raised.value.code is Exit.USAGE
    assert key in str(raised.value)


def test_clock_and_signal_leave_time_for_a_block() -> None:
    assert clock(59) == "00:00:59"
    assert clock(90061) == "1-01:01:01"
    assert signal_seconds(3600, 1.0) == 180
    assert signal_seconds(36000, 300.0) == 390
    assert signal_seconds(60, 1.0) == 20


def test_batch_scripts_pass_shellcheck(tmp_path: Path) -> None:
    shellcheck = shutil.which("shellcheck") or str(Path(sys.executable).parent / "shellcheck")
    (tmp_path / "array.sbatch").write_text(array_script(Site(modules=["gcc/12"]), job(), Path("/data/run/a.map"), 10))
    (tmp_path / "merge.sbatch").write_text(merge_script(Site(), job(), 1, True))
    shipped = [PROJECT / "slurm" / name for name in ("element.sh", "environment.sh", "complementarity.sbatch")]
    for script in (*shipped, tmp_path / "array.sbatch", tmp_path / "merge.sbatch"):
        done = subprocess.run([shellcheck, "-x", script], capture_output=True, text=True, cwd=PROJECT)
        assert done.returncode == 0, done.stdout
