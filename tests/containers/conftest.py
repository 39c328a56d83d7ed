"""The two images in the light variant, built once for all tests of this folder."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..house import PROJECT
from ..packaging.source_files import PACKAGES, files
from .base import NEEDED as FOR_BASE
from .base import Pip, base_tar, missing, unpacked
from .oci import Engine
from .runtime import Apptainer, Outside, allow_fakeroot, apptainer, open_folder, owned

VARIANT = os.environ.get("QUINTET_TEST_VARIANT", "light")


def lacking(reason: str) -> None:
    """Skip with the reason; fail where images must be built."""
    if os.environ.get("QUINTET_REQUIRE_APPTAINER") == "1":
        pytest.fail(f"QUINTET_REQUIRE_APPTAINER=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder that an ordinary user can reach."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def checkout(place: Path) -> Path:
    """A clean copy of the project's own files, as a clone would have them.

    QUINTET_TEST_CHECKOUT names the one that QUINTET_TEST_SIF was built from.
    """
    if given := os.environ.get("QUINTET_TEST_CHECKOUT"):
        return Path(given)
    folder = place / "checkout"
    for path in files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / path, folder / path)
    return folder


@pytest.fixture(scope="session")
def commit() -> str:
    """What the images are told of their origin, as the Makefile finds it: the copy that they are made of is no git."""
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"


@pytest.fixture(scope="session")
def code(checkout: Path, place: Path) -> Path:
    """What goes on PYTHONPATH so that the verbs outside are those of the checkout, too."""
    (place / "code" / "quintet").mkdir(parents=True)
    for name in PACKAGES:
        (place / "code" / "quintet" / name).symlink_to(checkout / name)
        compileall.compile_dir(checkout / name, quiet=2)  # the ordinary user may not, and would start slowly
    return place / "code"


@pytest.fixture(scope="session")
def base() -> Path:
    """The base image's stand-in, as a tar archive."""
    if reason := missing(FOR_BASE):
        lacking(reason)
    return base_tar()


@pytest.fixture(scope="session")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Pip:
    return Pip(tmp_path_factory.mktemp("pip"))


@pytest.fixture(scope="session")
def program() -> Path:
    """The Apptainer to test with."""
    try:
        return apptainer()
    except RuntimeError as error:
        lacking(f"Apptainer: {error}")
        raise


@pytest.fixture(scope="session")
def sif(program: Path, base: Path, checkout: Path, commit: str, pip: Pip, place: Path) -> Apptainer:
    """The Apptainer image: made by `make sif` from a clean checkout, or the one that QUINTET_TEST_SIF names."""
    if given := os.environ.get("QUINTET_TEST_SIF"):
        return Apptainer(program, Path(given))
    allow_fakeroot()
    rootfs, made = unpacked(base, place / "rootfs"), place / "quintet.sif"
    options = ["--fakeroot", "--mksquashfs-args", "'-comp lz4'", *pip.options("--bind")]
    values = {"VARIANT": VARIANT, "COMMIT": commit, "BOOTSTRAP": "localimage", "BASE_IMAGE": rootfs}
    values |= {"SIF": made, "APPTAINER": program}
    words = [f"{name}={value}" for name, value in values.items()]
    subprocess.run(["make", "sif", *words, f"SIF_OPTIONS={' '.join(options)}"], cwd=checkout, check=True)
    shutil.rmtree(rootfs)
    return Apptainer(program, made)


@pytest.fixture
def outside(sif: Apptainer, code: Path) -> Outside:
    """The verbs outside that start the image's, by an ordinary user."""
    return Outside(sif, code)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that belongs to the ordinary user."""
    with open_folder() as above:
        yield owned(above / "ein Ordner ü")


@pytest.fixture(scope="session")
def oci(
    base: Path, checkout: Path, commit: str, pip: Pip, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """The OCI image: made by `make image` with buildah in a store of its own."""
    if reason := missing(("buildah",)):
        lacking(reason)
    engine = Engine(tmp_path_factory.mktemp("oci"))
    try:
        engine.import_base(base)
        engine.build(checkout, VARIANT, commit, pip)
        yield engine
    finally:
        engine.remove()
