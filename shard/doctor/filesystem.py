"""The file system of a run: its kind, space, quota, clock, speed, and whether HDF5 opens files on it."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .record import Check, fail, passed, warn

LOW_SPACE_BYTES = 1 << 30
SCARCE_SPACE_BYTES = 10 << 30
LOW_INODES = 10_000
SKEW_S = 5.0
SLOW_FSYNC_S = 0.05
FSYNCS = 8
COMMAND_S = 20.0
CAVEATS = {
    "nfs": "locks need the server's lock daemon; attributes are cached for seconds, so that other hosts see files late",
    "nfs4": "attributes are cached for seconds, so that other hosts see files late",
    "lustre": "flock works across nodes only where it is mounted with the option flock",
    "gpfs": "sound; many small files in one folder from many nodes are slow",
    "beegfs": "flock works across nodes only with tuneUseGlobalFileLocks=true",
    "tmpfs": "memory of this machine: gone after a restart, unseen by other nodes",
    "overlay": "a container's layer: gone with the container, unseen by other nodes; bind a real folder",
    "fuse.sshfs": "neither locks nor hard links: not for a run",
    "9p": "locks are often local to each machine",
    "vfat": "no hard links and no permissions: not for a run",
}
LOCAL_LOCKS = {"nolock", "local_lock=all", "local_lock=flock", "local_lock=posix", "noflock", "localflock"}


@dataclass(frozen=True)
class Mount:
    """Where a folder is mounted from."""

    point: str
    kind: str
    options: frozenset[str]


def mount_of(folder: Path, table: str | None = None) -> Mount:
    """Return the mount that holds a folder, from `/proc/self/mountinfo` (or its text)."""
    try:
        text = table if table is not None else Path("/proc/self/mountinfo").read_text()
    except OSError:
        return Mount("/", "unknown", frozenset())
    real, best = str(folder.resolve()), Mount("/", "unknown", frozenset())
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, behind = left.split(), right.split()
        if len(fields) < 6 or len(behind) < 3:
            continue
        point = fields[4].replace("\\040", " ")
        inside = point == "/" or real == point or real.startswith(point + "/")
        if inside and len(point) >= len(best.point):
            best = Mount(point, behind[0], frozenset([*fields[5].split(","), *behind[2].split(",")]))
    return best


def check_mount(folder: Path) -> Check:
    """Name the kind of file system and its caveats."""
    mount = mount_of(folder)
    found = f"{mount.kind} at {mount.point}"
    local = sorted(mount.options & LOCAL_LOCKS)
    if local:
        advice = "locks of this mount hold on one node only: set `lock_kind: strict` in the site file"
        return warn("file system", f"{found} ({','.join(local)})", advice)
    if "ro" in mount.options:
        return fail("file system", f"{found}, read-only", "name a folder that can be written")
    caveat = CAVEATS.get(mount.kind)
    return warn("file system", found, caveat) if caveat else passed("file system", found)


def check_space(folder: Path) -> Iterator[Check]:
    """Check free bytes and inodes."""
    state = os.statvfs(folder)
    free = state.f_bavail * state.f_frsize
    text = f"{free / 2**30:.1f} GiB free"
    advice = "free some space, or name a run on another file system (bin/plan --run)"
    if free < LOW_SPACE_BYTES:
        yield fail("space", text, advice)
    else:
        yield warn("space", text, advice) if free < SCARCE_SPACE_BYTES else passed("space", text)
    if state.f_files:
        few = state.f_favail < LOW_INODES
        text = f"{state.f_favail} inodes free"
        yield warn("inodes", text, "use fewer shards: each publishes files") if few else passed("inodes", text)


def check_quota(folder: Path) -> Check:
    """Show the user's quota where a tool can tell it."""
    mount = mount_of(folder)
    user = str(os.getuid())
    command = (
        ["lfs", "quota", "-q", "-u", user, mount.point]
        if mount.kind == "lustre"
        else ["quota", "-w", "-p", "-f", mount.point]
    )
    if shutil.which(command[0]) is None:
        return passed("quota", f"not known (no command {command[0]} here)")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return warn("quota", f"{command[0]} does not answer", "ask for your quota before a large run")
    if "*" in answer.stdout:
        return fail("quota", " ".join(answer.stdout.split())[:160], "you are over a quota: free some space first")
    return passed("quota", " ".join(answer.stdout.split())[-160:] or "none")


def check_clock(folder: Path) -> Check:
    """Compare the local clock with the file server's, by the time of a fresh file."""
    before = time.time()
    with tempfile.NamedTemporaryFile(dir=folder, prefix="clock") as file:
        served = os.fstat(file.fileno()).st_mtime
    after = time.time()
    skew = max(before - served, served - after, 0.0)
    text = f"{skew:.2f} s from the file server's"
    if skew > SKEW_S:
        return warn(
            "clock", text, "have the clocks synchronised (NTP); results do not depend on it, rates and ages shown do"
        )
    return passed("clock", text)


def check_fsync(folder: Path) -> Check:
    """Time fsync of a small file."""
    seconds = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix="fsync") as file:
        for _ in range(FSYNCS):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - begun)
    median = statistics.median(seconds)
    text = f"{1000 * median:.1f} ms (worst {1000 * max(seconds):.1f} ms)"
    if median > SLOW_FSYNC_S:
        return warn(
            "fsync", text, "plan longer shards, and generations of trials instead of many workers on short ones"
        )
    return passed("fsync", text)


HDF5_PROBE = """
import sys, h5py
path = sys.argv[1]
with h5py.File(path, "w") as file:
    file["x"] = [1, 2, 3]
with h5py.File(path, "r") as file:
    assert file["x"][:].tolist() == [1, 2, 3]
"""


def check_hdf5(folder: Path) -> Check:
    """Open an HDF5 file there with HDF5's own locking and without."""
    works = {}
    for setting in ("TRUE", "FALSE"):
        path = folder / f"probe-{setting}.h5"
        environment = {**os.environ, "HDF5_USE_FILE_LOCKING": setting}
        command = [sys.executable, "-c", HDF5_PROBE, str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        works[setting] = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]
        path.unlink(missing_ok=True)
    if works["FALSE"]:
        return fail("HDF5", works["FALSE"][:160], "h5py cannot write files here: mend the installation (make setup)")
    if works["TRUE"]:
        return warn("HDF5", f"with its own locking: {works['TRUE'][:120]}",
                    "partials do without it; export HDF5_USE_FILE_LOCKING=FALSE for other programs")  # fmt: skip
    return passed("HDF5", "opens with its own locking and without")


def check_access(folder: Path) -> Check:
    """Check who else may write to the folder."""
    if folder.stat().st_mode & 0o002 and not folder.stat().st_mode & 0o1000:
        return fail("access", "anyone may write to it", f"chmod o-w {folder}")
    return passed("access", f"mode {folder.stat().st_mode & 0o777:o}")


def check_scratch() -> Check:
    """Check the node-local folder for temporary files."""
    folder = Path(os.environ.get("SLURM_TMPDIR") or tempfile.gettempdir())
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return fail("scratch", f"{folder}: {error.strerror}", "set TMPDIR to a folder on this node that can be written")
    text = f"{folder}, {free / 2**30:.1f} GiB free, {mount_of(folder).kind}"
    return warn("scratch", text, "set TMPDIR to a larger folder") if free < LOW_SPACE_BYTES else passed("scratch", text)
