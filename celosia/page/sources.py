"""What a page is made of: folders and JSON files that our commands wrote, told by their content."""

from pathlib import Path

from celosia.manifest import first_foreign, read_manifest
from celosia.page.schemas import KINDS
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.files import read_text
from celosia.reference.checkpoint.foreign_json import parse_json
from celosia.reference.checkpoint.schema import convert

__all__ = ["PageError", "read_sources"]

LIMIT = 64 << 20  # bytes of a file


class PageError(ValueError):
    """No page can be made of this; the message names the file and says why."""


def read_sources(paths):
    """What ``paths`` hold, by kind: at most one of each of :data:`celosia.page.schemas.KINDS`.

    ``"folders"`` has, of each folder, its path, its manifest, and what is foreign in it (or None).

    Raises
    ------
    PageError
        If a folder has no manifest or is unfinished, a file is of no known kind or broken, two
        are of one kind, or they are of different models.
    OSError
        If something cannot be read.
    """
    found, origin, folders = {}, {}, []
    for path in map(Path, paths):
        if path.is_dir():
            folders.append(_folder(path))
        kind, value = _read(path / "report.json" if path.is_dir() else path)
        if kind in found:
            raise PageError(f"{path}: a {kind} is there already, from {origin[kind]}")
        found[kind], origin[kind] = value, path
    models = {kind: _model(kind, value) for kind, value in found.items()}
    models = {kind: name for kind, name in models.items() if name is not None}
    if len(set(models.values())) > 1:
        told = ", ".join(f"{origin[kind]} of {name}" for kind, name in models.items())
        raise PageError(f"results of different models make no page: {told}")
    return {**found, "folders": folders}


def _folder(path):
    manifest = read_manifest(path)
    if manifest is None:
        raise PageError(f"{path}: no folder that celosia generate or build made: no manifest.json")
    if manifest["unfinished"]:
        raise PageError(f"{path}: {manifest['made_by']} did not finish: run it again")
    foreign = first_foreign(path, manifest["made_by"])
    return {"path": path, "manifest": manifest, "foreign": foreign}


def _read(path):
    try:
        values = parse_json(read_text(path, LIMIT), path)
        for kind, (schema, members) in KINDS.items():
            if members <= values.keys():
                return kind, convert(values, schema, path)
    except (CheckpointError, ValueError) as error:
        raise PageError(str(error)) from None
    raise PageError(
        f"{path}: not what generate, build, simulate --json, simulate --trace or evaluate --json "
        "write"
    )


def _model(kind, value):
    if kind == "machine":
        return value.model.get("name")
    return getattr(value, "model", None)
