"""What our commands write as JSON: of each kind what the page needs of it."""

from typing import Annotated

import msgspec

__all__ = ["KINDS", "Event", "Machine"]

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


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
