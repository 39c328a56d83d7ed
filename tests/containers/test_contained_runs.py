"""Runs in the image give the bits of runs outside it, whoever runs them and however little the image is given."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from quintet.shard.attempts import read_attempts
from quintet.shard.errors import Exit
from quintet.shard.partial import read_card, read_meta
from quintet.shard.run import Run

from ..house import PROJECT, payloads
from .conftest import VARIANT
from .runtime import ORDINARY, Apptainer, Outside, as_user, open_folder, owned

pytestmark = pytest.mark.containers
WARM = PROJECT / "configs" / "complementarity" / "warm.yaml"
# What the light variant can run whole; the demo of conspec draws its first weights with torch.
STUDIES = ("complementarity", "induction", "society", "synergy", *(["conspec"] if VARIANT == "full" else []))
LONGEST_START = 1.5  # seconds more than outside


@pytest.fixture(scope="module")
def expected(sif: Apptainer, code: Path) -> dict[str, str]:
    """The payloads of the run without a container."""
    with open_folder() as above:
        run = planned(Outside(sif, code), owned(above / "plain") / "run")
        Outside(sif, code)("local", run, "--jobs", "2")
        return payloads(run)


def planned(outside: Outside, run: Path, *words: str) -> Path:
    outside("plan", WARM, "--run", run, "--no-probe", *words)
    return run


def partials(run: Path) -> dict[str, str]:
    """Return the payload digest of every partial."""
    return {path.name: read_card(path).pd for path in sorted((run / "partials").rglob("*.h5"))}


def test_a_whole_run_in_the_image_has_the_payload_of_one_outside(
    outside: Outside, folder: Path, sif: Apptainer, expected: dict[str, str]
) -> None:
    run = planned(outside, folder / "run")
    done = outside("local", run, "--jobs", "2", "--container", sif.image)
    assert payloads(run) == expected
    assert (run / "report" / "report.html").is_file()
    assert "no machine code" not in done.stderr
    facts = read_meta(Run(run).merged("simulate"))
    assert facts["container"]["quintet_image_id"].startswith("quintet-")
    if os.geteuid() == 0:
        assert {path.stat().st_uid for path in run.rglob("*")} == {ORDINARY}


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_s_demo_runs_in_the_image_and_compiles_nothing(study: str, sif: Apptainer, folder: Path) -> None:
    run, options = folder / "run", ("--bind", str(folder), "--pwd", str(folder))
    begun = time.monotonic()
    planned = sif("plan", f"{study}/demo", "--run", run, "--no-probe", options=options)
    done = sif("local", run, "--jobs", "2", options=options)
    print(f"{study}/demo in the image: {time.monotonic() - begun:.0f} s")
    assert [line for line in (planned.stderr + done.stderr).splitlines() if "no machine code" in line] == []
    assert (run / "report" / "report.html").is_file()


@pytest.mark.skipif(VARIANT != "light", reason="the full variant has torch")
def test_what_the_light_image_lacks_is_one_line_and_78(sif: Apptainer, folder: Path) -> None:
    run, options = folder / "run", ("--bind", str(folder))
    sif("plan", "conspec/warm", "--run", run, "--no-probe", options=options)
    done = sif("shard", run, "search-single", "--index", "0", options=options, code=int(Exit.MISMATCH))
    assert [line for line in done.stderr.splitlines() if "torch" in line] == ["bin/shard: No module named 'torch'"]
    assert "Traceback" not in done.stderr


def test_every_verb_runs_inside_the_image(sif: Apptainer, folder: Path, expected: dict[str, str]) -> None:
    run, options = folder / "run", ("--bind", str(folder), "--pwd", str(folder))
    sif("plan", "complementarity/warm", "--run", run, "--no-probe", options=options)
    assert (run / "plan" / "code" / "quintet" / "shard").is_dir()
    sif("shard", run, "search", "--index", "0", options=options)
    sif("merge", run, "search", options=options)
    assert sif("missing", run, "simulate", options=options, code=None).returncode == 1
    sif("local", run, "--jobs", "1", options=options)
    assert payloads(run) == expected
    assert "complete" in sif("status", run, options=options).stdout


def test_shards_run_with_read_only_root_no_network_contained_and_without_home(
    outside: Outside, sif: Apptainer, folder: Path, expected: dict[str, str]
) -> None:
    run = planned(outside, folder / "run")
    code = "import socket, sys; sys.exit(socket.socket().connect_ex(('192.0.2.1', 9)) != 101)"
    options = ["--containall", "--cleanenv", "--no-home", "--net", "--network", "none", "--bind", str(run)]
    assert sif("python", "-c", code, options=options).returncode == 0
    assert sif("touch", "/opt/quintet/x", options=options, verb="exec", code=None).returncode != 0
    sif(
        "env",
        "-u",
        "HOME",
        "/opt/quintet/bin/.entry",
        "shard",
        run,
        "search",
        "--index",
        "0",
        options=options,
        verb="exec",
    )
    found = partials(run)
    assert len(found) == 8
    sif("merge", run, "search", options=options)
    assert payloads(run)["search"] == expected["search"]


def test_other_code_than_planned_is_refused_unless_drift_is_allowed(
    outside: Outside, sif: Apptainer, folder: Path
) -> None:
    run = planned(outside, folder / "run")
    for path in (run / "plan").glob("*.json"):
        path.chmod(0o644)
        text = json.loads(path.read_text())
        if "code" in text:
            path.write_text(json.dumps(text | {"code": {**text["code"], "sha256": "0" * 64}}))
    refused = outside("local", run, "--phase", "search", "--container", sif.image, code=int(Exit.MISMATCH))
    assert "is not the planned" in refused.stderr
    assert partials(run) == {}
    words = ("--phase", "search", "--container", sif.image, "--allow-code-drift")
    assert "is not the planned" in outside("local", run, *words).stderr
    assert len(partials(run)) == 8
    options = ("--bind", str(folder))
    merge = ("python", "-m", "quintet.shard.container", run, "search")
    assert "is not the planned" in sif(*merge, options=options, code=int(Exit.MISMATCH)).stderr
    sif(*merge, "--allow-code-drift", options=options)


def test_an_image_that_is_not_there_is_one_line(outside: Outside, folder: Path) -> None:
    run = planned(outside, folder / "run")
    done = outside("local", run, "--container", folder / "none.sif", code=int(Exit.USAGE))
    assert len(done.stderr.splitlines()) == 1
    assert "none.sif" in done.stderr


def test_a_stopped_shard_in_the_image_ends_with_75_and_goes_on(
    outside: Outside, sif: Apptainer, folder: Path, expected: dict[str, str]
) -> None:
    run = planned(outside, folder / "run")
    early = as_user(
        [str(sif.program), "exec", "--containall", "--bind", str(run), "--env", "QUINTET_DEADLINE=1", str(sif.image)]
        + ["/opt/quintet/bin/.entry", "shard", str(run), "search", "--index", "0"]
    )
    assert early.returncode == int(Exit.STOPPED), early.stderr
    outside("local", run, "--phase", "search", "--container", sif.image)
    codes = [item["end"]["rc"] for item in read_attempts(Run(run).attempt_file("search", 0))]
    assert codes == [75, 0]
    outside("local", run, "--container", sif.image)
    assert payloads(run) == expected


def test_starting_a_shard_in_the_image_costs_little_and_compiles_nothing(
    outside: Outside, sif: Apptainer, folder: Path
) -> None:
    run = planned(outside, folder / "run")
    outside("local", run, "--phase", "search")
    inside = ["--containall", "--bind", str(run)]

    def seconds(contained: bool) -> float:
        begun = time.monotonic()
        if contained:
            sif("shard", run, "search", "--index", "0", options=inside)
        else:
            outside("shard", run, "search", "--index", "0")
        return time.monotonic() - begun

    pairs = [(seconds(True), seconds(False)) for _ in range(7)]
    more = min(there for there, _ in pairs) - min(here for _, here in pairs)
    print(f"start of a finished shard: {more:.2f} s more in the image")
    assert more <= LONGEST_START


def test_kernels_that_do_not_fit_the_cpu_are_compiled_once_and_one_line_says_so(
    outside: Outside, sif: Apptainer, folder: Path, expected: dict[str, str]
) -> None:
    other = folder / "target"
    other.write_text("x86-64-v9\navx9000\n")
    node = owned(folder / "node")
    options = ["--containall", "--bind", str(folder), "--bind", f"{other}:/opt/quintet/kernels/target"]
    options += ["--env", f"QUINTET_NODE_CACHE={node}"]
    runs = [planned(outside, folder / name) for name in ("first", "second")]
    logs = [sif("shard", run, "search", "--index", "0", options=options).stderr for run in runs]
    line = "the image's kernels are for x86-64-v9, which this CPU does not fit"
    assert [log.count(line) for log in logs] == [1, 1]
    assert ["no machine code" in log for log in logs] == [True, False]
    sif("merge", runs[0], "search", options=options)
    assert payloads(runs[0])["search"] == expected["search"]
    assert partials(runs[0]) == partials(runs[1])


def test_submit_passes_container_and_gpu_option_to_the_batch_scripts(
    outside: Outside, sif: Apptainer, folder: Path, tmp_path: Path
) -> None:
    from quintet.shard.container import container_of
    from quintet.shard.site import Site
    from quintet.slurm.sbatch import Job, array_script, merge_script

    run = Run(planned(outside, folder / "run"))
    container = container_of(run, sif.image, more=("/models",))
    resources = {"cpus": 1, "mem_mb": 100, "gpus": 1, "time_s": 600}
    job = Job(run.path, "complementarity", "search", "python3", resources, container=container, drift=True)
    script = array_script(Site(container_gpu="amd"), job, run.path / "a.map", 100)
    assert f"container={sif.image}" in script
    assert "container_options=(--bind /models:/models:ro --rocm)" in script
    assert "drift=--allow-code-drift" in script
    assert "--nv" not in merge_script(Site(), job, 0, True)
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
