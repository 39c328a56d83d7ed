"""A stand-in for the base image where no registry can be asked, and what pip here needs to know inside a build."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

NEEDED = ("mmdebstrap",)
INCLUDED = "python3,python3-venv,ca-certificates"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def cache_folder() -> Path:
    """Return where bases and runtimes are kept between test runs; readable for other users, who run it."""
    folder = Path(os.environ.get("QUINTET_TEST_CACHE") or f"/var/tmp/quintet-tests-{os.getuid()}").expanduser()
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} belongs to somebody else; name another in QUINTET_TEST_CACHE")
    return folder


def pip_settings() -> dict[str, str]:
    """Return pip's configuration on this machine, the environment's words last."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in {"global", "install", ":env:"}:
            settings[name] = value.strip("'\"").replace("\\n", " ")
    return settings


def local_paths(settings: dict[str, str]) -> list[Path]:
    """Return the folders and files of this machine that pip's settings name."""
    words = [word.removeprefix("file://") for value in settings.values() for word in value.split()]
    found = [Path(word) for word in words if word.startswith("/") and Path(word).exists()]
    roots = {path.parent if path.name == "simple" else path for path in found}
    return sorted(roots)


class Pip:
    """pip's configuration as a file, and the read-only binds with which a build sees what it names."""

    def __init__(self, folder: Path) -> None:
        settings = pip_settings()
        self.conf = folder / "pip.conf"
        lines = [f"{name} = {value}" for name, value in settings.items() if name != "disable-pip-version-check"]
        self.conf.write_text("[global]\n" + "\n".join(lines) + "\n")
        self.binds = [(self.conf, Path("/etc/pip.conf")), *((path, path) for path in local_paths(settings))]

    def options(self, word: str) -> list[str]:
        """Return the builder's options: `word` is --bind or --volume."""
        return [part for outside, inside in self.binds for part in (word, f"{outside}:{inside}:ro")]


def base_tar() -> Path:
    """Return a Debian bookworm with Python 3.11 as a tar archive, made once for each list of packages and binds."""
    folders = [path for path in local_paths(pip_settings()) if path.is_dir()]
    recipe = " ".join([INCLUDED, *LEFT_OUT, *map(str, folders)])
    target = cache_folder() / f"base-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.tar"
    if target.is_file():
        return target
    fresh = target.with_suffix(f".{os.getpid()}.tar")
    hooks = [
        'ln -sf /usr/bin/python3 "$1/usr/local/bin/python"; rm -f "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED',
        'touch "$1/etc/pip.conf"',
        *(f'mkdir -p "$1{path}"' for path in folders if re.fullmatch(r"[\w./-]+", str(path))),
    ]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={INCLUDED}", "--skip=output/dev"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    command += ['--aptopt=Acquire::Languages "none"', *(f"--customize-hook={hook}" for hook in hooks)]
    subprocess.run([*command, "bookworm", str(fresh)], check=True, stdin=subprocess.DEVNULL)
    fresh.rename(target)
    return target


def unpacked(archive: Path, folder: Path) -> Path:
    """Return a folder with the base's files: what Apptainer takes as a local image."""
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    (folder / "dev").mkdir(exist_ok=True)
    return folder


def missing(programs: tuple[str, ...]) -> str | None:
    """Return which programs are not installed, None where all are."""
    lacking = [name for name in programs if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else None
