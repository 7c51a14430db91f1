"""What a page is made of: folders and JSON files that our commands wrote, told by their content."""

from pathlib import Path
from typing import Annotated

import msgspec

from celosia.manifest import first_foreign, read_manifest
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.files import read_text
from celosia.reference.checkpoint.foreign_json import parse_json
from celosia.reference.checkpoint.schema import convert

__all__ = ["PageError", "read_sources"]

LIMIT = 64 << 20  # bytes of a file
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class PageError(ValueError):
    """No page can be made of this; the message names the file and says why."""


class Unit(msgspec.Struct):
    name: str


class Route(msgspec.Struct):
    name: str
    units: list[Unit]
    sink: str


class Shape(msgspec.Struct):
    rows: Number = 0
    lanes: Number = 0
    tokens: Number = 1
    routes: list[Route] = []


class Section(msgspec.Struct):
    name: str
    address: Number
    bytes: Number


class Tape(msgspec.Struct):
    bytes: Number
    sections: list[Section]


class Memory(msgspec.Struct):
    module: str
    name: str
    width: Number
    depth: Number
    bits: Number


class Machine(msgspec.Struct):
    """``report.json`` of ``celosia generate``."""

    celosia: str
    model: dict[str, object]
    config: dict[str, object]
    shape: Shape
    formats: dict[str, str]
    memory_map: dict[str, Tape]
    multipliers: Number
    ideal_cycles: dict[str, float]
    routes: list[str] = []
    memories: list[Memory] = []
    memory_bits: Number = 0


class Used(msgspec.Struct):
    used: Number
    available: Number


class Build(msgspec.Struct):
    """``report.json`` of ``celosia build``."""

    board: str
    model: str
    config: dict[str, object]
    clock_mhz: float
    fmax_mhz: float | None
    cycles_per_token: Number
    position: Number
    tokens_per_second: float | None
    utilisation: float
    multipliers: Number
    notes: list[str]
    lut: Used | None = None
    ff: Used | None = None
    dsp: Used | None = None
    bram: Used | None = None
    spram: Used | None = None


class Simulation(msgspec.Struct):
    """What ``celosia simulate --json`` writes."""

    model: str
    config: dict[str, object]
    prompt_tokens: list[Number]
    tokens: list[Number]
    matches_reference: bool
    logits_match: bool
    cycles: list[float]
    ideal_cycles: list[float]
    utilisation: float
    multipliers: Number
    overhead: dict[str, float]
    saturated: dict[str, Number]


class Perplexity(msgspec.Struct):
    perplexity: float


class Evaluation(msgspec.Struct):
    """What ``celosia evaluate --json`` writes."""

    tokens: Number
    floating: Perplexity = msgspec.field(name="float")
    integer: Perplexity
    top1_agreement: float
    kl: float
    saturated: dict[str, Number] | None = None


class Event(msgspec.Struct):
    name: str
    ph: str
    tid: Number = 0
    ts: float = 0
    dur: float = 0
    args: dict[str, object] = {}


class Trace(msgspec.Struct):
    """What ``celosia simulate --trace`` writes."""

    events: list[Event] = msgspec.field(name="traceEvents")


#: Of each kind the members that tell it.
KINDS = {
    "machine": (Machine, {"celosia", "memory_map"}),
    "build": (Build, {"board", "fmax_mhz"}),
    "simulation": (Simulation, {"overhead", "ideal_cycles"}),
    "evaluation": (Evaluation, {"float", "integer", "kl"}),
    "trace": (Trace, {"traceEvents"}),
}


def read_sources(paths):
    """``{kind: what was read}`` of ``paths``, at most one of each of :data:`KINDS`, and
    ``"folders"``: of each folder path, manifest, and what is foreign in it (None: nothing).

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
