"""Apptainer: the one on PATH, else Debian's newest packages unpacked into a private folder."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .base import cache_folder, missing

NEEDED = ("apt-get", "dpkg-deb", "patchelf", "mksquashfs", "newuidmap")
NODE = "/dev/fuse"
# In a mount namespace of our own stand a device node that everybody may open, and the Python of these tests, where
# its folder is closed to others; then the user changes.
AS_USER = """
set -e
node=$1 closed=$2 python=$3 user=$4
mount --bind "$node" /dev/fuse
if [ -n "$closed" ]; then
  exec 3<"$python"
  mount -t tmpfs -o mode=755 none "$closed"
  mkdir -p "$python"
  mount --no-canonicalize --bind /proc/self/fd/3 "$python"
  exec 3<&-
fi
exec setpriv --reuid="$user" --regid="$user" --clear-groups -- "${@:5}"
"""
ORDINARY = pwd.getpwnam("nobody").pw_uid  # Apptainer asks who the user is


def unpack(prefix: Path) -> None:
    """Make a private Apptainer, with a C library new enough for it."""
    apt, library = prefix / ".apt", prefix / "usr/lib/x86_64-linux-gnu"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    sources = Path("/etc/apt/sources.list.d/debian.sources").read_text().splitlines()
    facts = dict(line.split(": ", 1) for line in reversed(sources) if line.startswith(("URIs: ", "Signed-By: ")))
    (apt / "sid.list").write_text(f"deb [signed-by={facts['Signed-By']}] {facts['URIs']} sid main\n")
    settings = {
        "Dir::Etc::SourceList": apt / "sid.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": apt / "lists",
        "Dir::Cache": apt / "cache",
        "APT::Sandbox::User": "root",
    }
    command = ["apt-get", "-qq", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    subprocess.run([*command, "update"], check=True, cwd=apt)
    subprocess.run([*command, "download", "apptainer", "libc6"], check=True, cwd=apt)
    for package in apt.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, prefix], check=True)
    shutil.rmtree(apt)
    (prefix / "glibc").mkdir()
    for path in library.glob("*.so*"):
        shutil.copy2(path, prefix / "glibc" / path.name, follow_symlinks=False)
    search = f"{prefix}/glibc:/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu"
    for program in (prefix / "usr/bin/apptainer", library / "apptainer/bin/starter"):
        linker = ["--set-interpreter", f"{prefix}/glibc/ld-linux-x86-64.so.2", "--force-rpath", "--set-rpath", search]
        subprocess.run(["patchelf", *linker, program], check=True)
    (prefix / "usr/etc").symlink_to("../etc")
    (prefix / "usr/lib/etc").symlink_to("../../etc")
    for place in ("usr/var", "usr/lib/var"):
        (prefix / place / "lib/apptainer/mnt/session").mkdir(parents=True)
    conf = prefix / "etc/apptainer/apptainer.conf"
    lines = ["root default capabilities = no" if "root default cap" in x else x for x in conf.read_text().split("\n")]
    conf.write_text("\n".join(lines))


def apptainer() -> Path:
    """Return the program; RuntimeError with the reason where there is none."""
    for name in ("apptainer", "singularity"):
        if found := shutil.which(name):
            return Path(found)
    prefix = cache_folder() / "apptainer"  # its path is written into the programs
    program, whole = prefix / "usr/bin/apptainer", prefix / ".whole"
    if not whole.is_file():
        if reason := missing(NEEDED):
            raise RuntimeError(reason)
        shutil.rmtree(prefix, ignore_errors=True)
        try:
            unpack(prefix)
        except (OSError, subprocess.SubprocessError, KeyError) as error:
            raise RuntimeError(f"cannot be unpacked: {error}") from None
        whole.touch()
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"does not start: {done.stderr}")
    return program


def allow_fakeroot() -> None:
    """Let root build in a user namespace: it needs a line in /etc/subuid and /etc/subgid."""
    if os.geteuid() != 0:
        return
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        text = path.read_text() if path.exists() else ""
        if not any(line.startswith("root:") for line in text.splitlines()):
            path.write_text(text + "root:200000:65536\n")


@dataclass(frozen=True)
class Apptainer:
    """The program and an image, used by an ordinary user."""

    program: Path
    image: Path

    @property
    def path(self) -> str:
        """PATH with the program in front."""
        return f"{self.program.parent}:{os.environ['PATH']}"

    def inspect(self, *options: str) -> str:
        """Return what the image tells of itself."""
        return subprocess.run(
            [self.program, "inspect", *options, self.image], capture_output=True, text=True, check=True
        ).stdout

    def __call__(
        self, *arguments: str | Path, options: Sequence[str] = (), verb: str = "run", code: int | None = 0, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the image as an ordinary user and hold it to an exit code."""
        done = as_user([str(self.program), verb, *options, str(self.image), *map(str, arguments)], **more)
        if code is not None:
            assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


@dataclass(frozen=True)
class Outside:
    """The suite's verbs as an ordinary user types them, on code that lies outside the image."""

    sif: Apptainer
    code: Path

    def __call__(
        self, verb: str, *arguments: str | Path, code: int | None = 0, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb and hold it to an exit code."""
        module = {"merge": "quintet.merge"}.get(verb, f"quintet.shard.commands.{verb}")
        command = [sys.executable, "-m", module, *map(str, arguments)]
        done = as_user(command, PATH=self.sif.path, PYTHONPATH=str(self.code), **more)
        if code is not None:
            assert done.returncode == code, f"{verb} {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


def as_user(command: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an ordinary user, who may open the device that mounts images; no HOME, no Slurm variables."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "QUINTET", "PYTHON", "NUMBA"))
    }
    environment.pop("HOME", None)
    environment |= more
    if os.geteuid() == 0:
        facts = [str(device()), closed_folder(), sys.base_prefix, str(ORDINARY)]
        command = ["unshare", "--mount", "bash", "-c", AS_USER, "bash", *facts, *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)


def closed_folder() -> str:
    """Return the outermost folder above this Python that others cannot enter; empty where they reach it."""
    closed = [path for path in reversed(Path(sys.base_prefix).parents) if not path.stat().st_mode & stat.S_IXOTH]
    return str(closed[0]) if closed else ""


def device() -> Path:
    """Return a device node of our own that everybody may open."""
    node = cache_folder() / "fuse"
    if not node.exists():
        os.mknod(node, 0o666 | stat.S_IFCHR, Path(NODE).stat().st_rdev)
        node.chmod(0o666)
    return node


@contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that every user can reach, unlike pytest's own; it is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="test-", dir=cache_folder(), ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def owned(folder: Path) -> Path:
    """Make a folder that belongs to the ordinary user."""
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, ORDINARY, ORDINARY)
    return folder
