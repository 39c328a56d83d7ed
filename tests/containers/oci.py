"""buildah with a store of its own, where no registry and no daemon is at hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import Pip

BASE = "localhost/python:3.11-slim-bookworm"
IMAGE = "localhost/quintet:test"
SCRIPT = """#!/bin/sh
export BUILDAH_ISOLATION=chroot
exec buildah --root '{store}/root' --runroot '{store}/run' "$@"
"""


@dataclass(frozen=True)
class Engine:
    """The store, and what is done with the images in it."""

    store: Path

    def __post_init__(self) -> None:
        self.program.write_text(SCRIPT.format(store=self.store))
        self.program.chmod(0o755)

    @property
    def program(self) -> Path:
        """The builder that `make image` is given."""
        return self.store / "buildah"

    def __call__(self, *arguments: str | Path) -> str:
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"buildah {arguments}: {done.stderr[-2000:]}"
        return done.stdout.strip()

    def import_base(self, archive: Path) -> None:
        """Make the image that the Dockerfile starts from by its default name."""
        container = self("from", "scratch")
        self("add", "--quiet", container, archive, "/")
        self("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        self("commit", "--quiet", "--rm", container, BASE)

    def build(self, checkout: Path, variant: str, commit: str, pip: Pip) -> None:
        """Build the suite's image by the Makefile."""
        options = ["--pull-never", *pip.options("--volume")]
        words = [f"ENGINE={self.program}", f"VARIANT={variant}", f"COMMIT={commit}", f"IMAGE={IMAGE}"]
        words += [f"IMAGE_OPTIONS={' '.join(options)}"]
        subprocess.run(["make", "image", *words], cwd=checkout, check=True)

    def config(self) -> dict[str, Any]:
        """Return the image's OCI config."""
        config: dict[str, Any] = json.loads(self("inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
        return config

    def size(self) -> int:
        """Return the bytes of the image's files."""
        container = self("from", "--pull-never", IMAGE)
        root = Path(self("mount", container))
        found = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
        self("rm", container)
        return found

    def run(self, *arguments: str, volume: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the image's entry point, as its own user."""
        container = self("from", "--pull-never", IMAGE)
        config = self.config()
        volumes = ["--volume", f"{volume}:/work"] if volume else []
        command = [self.program, "run", *volumes, container, "--", *config["Entrypoint"], *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        self("rm", container)
        return done

    def remove(self) -> None:
        """Remove images, containers and the store."""
        subprocess.run([self.program, "rm", "--all"], capture_output=True)
        subprocess.run([self.program, "rmi", "--all", "--force"], capture_output=True)
        subprocess.run(["umount", self.store / "root" / "overlay"], capture_output=True)
        shutil.rmtree(self.store, ignore_errors=True)
        assert not os.path.ismount(self.store / "root" / "overlay")
