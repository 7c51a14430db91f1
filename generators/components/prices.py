"""The price list: what the units of the standard set cost on a chip, and how fast they are."""

import contextlib
import statistics
import warnings

from amaranth import Module, Signal
from amaranth.hdl import Const
from amaranth.lib import data, stream, wiring
from amaranth.sim import Simulator
from celosia.generators.components.routing import route
from celosia.generators.components.standard import build
from celosia.generators.components.synthesis import TARGETS, synthesise, version
from celosia.sim.toolchain import ToolError

__all__ = ["markdown", "measure", "price", "versions"]

OPERATION = 64  # words of a measured operation, where the unit has no size of its own
MEASURED = 1024  # words, or one operation if it is longer, over which throughput is measured
PATIENCE = 2000  # cycles that a measurement may take beyond 16 for each word
CONTINUED = ("command", "weights")  # streams beside the words which do not end


def price(name, target="ecp5", settings=None, seeds=(), say=print):
    """What a component costs: ``name, parameters, lut, ff, dsp, bram, latency, throughput``,
    ``seeds_mhz`` for each of ``seeds``, and their median ``fmax_mhz``, as a dict.

    What could not be found out is None; a tool's message on it is ``error``. Netlists and routes
    are kept in the cache, so that an interrupted call loses little. ``say`` is told what is under
    way.

    Raises
    ------
    ValueError
        If a name or a value is wrong, or ``target`` cannot be routed.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    if seeds and target != "ecp5":
        raise ValueError(f"only ecp5 can be routed, not {target!r}")
    component, parameters = build(name, settings)
    row = {"name": name, "parameters": parameters, **dict.fromkeys(("lut", "ff", "dsp", "bram"))}
    row["latency"], row["throughput"] = measure(build(name, settings)[0])
    row |= {"fmax_mhz": None, "seeds_mhz": []}
    try:
        say(f"{name}: synthesis")
        row |= synthesise(component, target)
        for seed in seeds:
            say(f"{name}: placement and routing, seed {seed}")
            row["seeds_mhz"].append(route(build(name, settings)[0], seed))
            row["fmax_mhz"] = round(statistics.median(row["seeds_mhz"]), 1)
    except ToolError as error:
        say(f"{name}: {error}")
        row["error"] = str(error)
    return row


def measure(component):
    """``(latency, throughput)`` of ``component`` in simulation, without stalls.

    Latency is the component's own ``latency``, or else the cycles from its first accepted word to
    its first output. Throughput is in words per cycle, accepted or given, whichever are more: that
    of operation behind operation, after as many words as are then measured. Words are zeros, framed
    in operations of the unit's own length; other input streams, except commands and weights, give
    one payload. None where nothing moves.
    """
    streams = {
        name: (member, getattr(component, name))
        for name, member in component.signature.members.items()
        if not member.is_port
        and not member.dimensions
        and isinstance(member.signature, stream.Signature)
    }
    inputs = {n: s for n, (member, s) in streams.items() if member.flow == wiring.In}
    outputs = [s for member, s in streams.values() if member.flow == wiring.Out]
    main = inputs.get("i", next(iter(inputs.values()), None))
    sides = {name: s for name, s in inputs.items() if s is not main}
    tokens = getattr(component, "tokens", 1)
    operation = _operation(component)
    measured = -(-MEASURED // (operation * tokens)) * operation * tokens
    accepted, given = [], []

    async def run(ctx):
        for s in inputs.values():
            if not isinstance(s.valid, Const):
                ctx.set(s.valid, 1)
        for s in sides.values():
            if isinstance(s.payload.shape(), data.StructLayout):
                for name, value in (("tokens", tokens), ("last", 1)):
                    if name in s.p.shape().members:
                        ctx.set(s.p[name], value)
        for s in outputs:
            if not isinstance(s.ready, Const):
                ctx.set(s.ready, 1)
        for cycle in range(PATIENCE + 16 * measured):
            _set_word(ctx, main, len(accepted), operation, tokens)
            await ctx.delay(0)
            if ctx.get(main.valid) and ctx.get(main.ready):
                accepted.append(cycle)
            if any(ctx.get(s.valid) for s in outputs):
                given.append(cycle)
            if max(len(accepted), len(given)) > 2 * measured:
                break
            once = [
                s
                for name, s in sides.items()
                if name not in CONTINUED and ctx.get(s.valid) and ctx.get(s.ready)
            ]
            await ctx.tick()
            for s in once:
                ctx.set(s.valid, 0)

    m = Module()
    m.submodules.component = component
    m.d.sync += Signal(name="clocked").eq(1)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulator.run()
    latency = getattr(component, "latency", given[0] - accepted[0] if given and accepted else None)
    moved = max(accepted, given, key=len)
    if len(moved) <= 2 * measured:
        return latency, None
    return latency, round(measured / (moved[-1] - moved[-1 - measured]), 3)


def _operation(component):
    """The words of one of ``component``'s operations."""
    for name in ("n", "vocab_size"):
        if hasattr(component, name) and hasattr(component, "lanes"):
            return -(-getattr(component, name) // component.lanes)
    return getattr(component, "words", OPERATION)


def _set_word(ctx, i, n, operation, tokens):
    """Word ``n`` of operations of ``operation`` words on the stream ``i``."""
    shape = i.payload.shape()
    if isinstance(shape, data.ArrayLayout):
        return
    if not isinstance(shape, data.StructLayout):
        ctx.set(i.payload, 1)
        return
    place = {
        "index": n // tokens % operation,
        "token": n % tokens,
        "last": int(n % (operation * tokens) == operation * tokens - 1),
    }
    for name, value in place.items():
        if name in shape.members:
            ctx.set(i.payload[name], value)


def markdown(rows, target, command, made_with=""):
    """The table of ``rows`` from :func:`price` as a page; it names the tools ``made_with``."""
    unit = {"xilinx": "LUT6"}.get(target, "LUT4")
    bram = {"ice40": "block RAM (4 Kbit)"}.get(target, "block RAM (18 Kbit)")
    lines = [
        f"# What the components cost{f' on {target}' * (target != 'ecp5')}",
        "",
        f"Made by `{command}`. On {target}, each unit alone at its standard parameters.",
        "Latency in cycles; throughput in words per cycle, accepted or given, whichever are more;",
        "of the KV cache's page table in APPENDs.",
    ]
    lines += [f"Made with {made_with}."] if made_with else []
    if any(row["seeds_mhz"] for row in rows):
        lines += [
            "The clock after routing on speed grade 6, with registers around the unit: the median",
            "of the placements, and in brackets each of them.",
        ]
    lines += [
        "",
        f"| unit | parameters | {unit} | FF | DSP | {bram} | latency | throughput | MHz |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        parameters = ", ".join(f"{k} {v}" for k, v in row["parameters"].items())
        cells = [row[k] for k in ("lut", "ff", "dsp", "bram", "latency", "throughput")]
        cells = ["" if cell is None else str(cell) for cell in cells]
        seeds = ", ".join(map(str, row["seeds_mhz"]))
        cells += [f"{row['fmax_mhz']} ({seeds})" if seeds else ""]
        lines.append(f"| {' | '.join([row['name'], parameters, *cells])} |")
    failed = [f"- {row['name']}: {row['error'].splitlines()[0]}" for row in rows if "error" in row]
    lines += ["", "The tools failed on:", "", *failed] if failed else []
    return "\n".join(lines) + "\n"


def versions(*names):
    """The tools ``names`` with their versions, in words; nothing of those that are not there."""
    found = []
    for name in names:
        with contextlib.suppress(ToolError):
            found.append(f"{name} {version(name)}")
    return " and ".join(found)
