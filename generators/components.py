"""The component library's price list: each unit at its standard parameters, on a chip."""

import warnings

import numpy as np
from amaranth import Module, Signal
from amaranth.hdl import Const
from amaranth.lib import data, stream, wiring
from amaranth.sim import Simulator
from celosia.generators.synthesis import fmax, synthesise
from celosia.rtl.block_quantize import BlockQuantize
from celosia.rtl.dequantizer import Dequantizer
from celosia.rtl.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.function_table import Function
from celosia.rtl.hadamard import Hadamard
from celosia.rtl.head_quantize import HeadQuantize
from celosia.rtl.kv_cache import KeyCache, ValueCache
from celosia.rtl.kv_controller import KvLinear, KvRing
from celosia.rtl.kv_paged import KvPaged
from celosia.rtl.kv_store import KvStore
from celosia.rtl.layer_norm import LayerNorm
from celosia.rtl.mac_fabric import MacFabric
from celosia.rtl.quantizer import StaticQuantizer
from celosia.rtl.reciprocal import Reciprocal
from celosia.rtl.residual import Residual
from celosia.rtl.rms_norm import RmsNorm
from celosia.rtl.rope import Rope
from celosia.rtl.rsqrt import Rsqrt
from celosia.rtl.sampler import Sampler
from celosia.rtl.scale import Scale
from celosia.rtl.softmax_block import SoftmaxBlock
from celosia.rtl.softmax_sum import SoftmaxSum
from celosia.rtl.sum_of_squares import SumOfSquares
from celosia.rtl.swiglu import SwiGlu
from celosia.rtl.systolic_array import OutputStationary, WeightStationary
from celosia.rtl.systolic_format import SystolicFormat
from celosia.rtl.top_k import TopK

__all__ = ["STANDARD", "build", "markdown", "measure", "price"]

OPERATION = 64  # words of a measured operation
PATIENCE = 2000  # cycles without a movement after which a measurement ends


def _rms_norm(lanes, words, width, epsilon, norms, tokens):
    gains = np.random.default_rng(0).integers(-1 << 15, 1 << 15, (norms, words * lanes))
    return RmsNorm(lanes, words, width, epsilon, gains.tolist(), tokens)


def _layer_norm(lanes, words, width, epsilon, tokens):
    gains, biases = np.random.default_rng(0).integers(-1 << 15, 1 << 15, (2, words * lanes))
    return LayerNorm(lanes, words, width, epsilon, gains, biases, tokens=tokens)


def _systolic(component):
    def make(rows, cols, activation_width, weight_width):
        form = SystolicFormat(activation_width, weight_width)
        return component(rows, cols, form)

    return make


def _rope(lanes, head_words, base, tokens):
    pairs = head_words * lanes // 2
    increments = [round(base ** (-i / pairs) * 2**32 / 6.283185307179586) for i in range(pairs)]
    return Rope(lanes, head_words, increments, tokens)


def _static_quantizer(lanes, channels, shift, x_width, width, group_size):
    multipliers = np.random.default_rng(0).integers(0, 1 << 16, channels // group_size)
    return StaticQuantizer(lanes, multipliers.tolist(), shift, x_width, width, group_size)


# name: what makes it, and its standard parameters
STANDARD = {
    "block_quantize": (BlockQuantize, {"lanes": 4, "width": 23, "tokens": 1}),
    "dequantizer": (
        Dequantizer,
        {"lanes": 8, "acc_width": 32, "sum_width": 16, "groups": 64, "width": 24},
    ),
    "dynamic_quantizer": (
        DynamicQuantizer,
        {"lanes": 8, "words": 64, "x_width": 16, "width": 8, "symmetric": True},
    ),
    "gelu": (Function, {"table": "gelu", "lanes": 8, "tokens": 1}),
    "hadamard": (Hadamard, {"n": 64, "lanes": 8, "width": 16, "o_width": 16, "tokens": 1}),
    "head_quantize": (HeadQuantize, {"lanes": 8, "head_words": 8, "tokens": 1}),
    "key_cache": (
        KeyCache,
        {
            "rows": 8,
            "lanes": 8,
            "n_layers": 4,
            "n_kv_heads": 4,
            "head_words": 1,
            "max_seq_len": 256,
        },
    ),
    "kv_linear": (KvLinear, {"n_slots": 2048, "n_sequences": 4, "group": 4}),
    "kv_paged": (
        KvPaged,
        {"n_blocks": 512, "block_size": 16, "n_sequences": 4, "max_blocks": 128, "group": 4},
    ),
    "kv_ring": (KvRing, {"n_slots": 512, "window": 512, "n_sequences": 4, "group": 4}),
    "kv_store": (KvStore, {"n_slots": 512, "lanes": 8, "words": 8, "width": 4, "x_width": 16}),
    "layer_norm": (
        _layer_norm,
        {"lanes": 8, "words": 64, "width": 16, "epsilon": 1, "tokens": 1},
    ),
    "mac_fabric": (
        MacFabric,
        {"rows": 8, "lanes": 8, "tokens": 1, "weight_width": 8, "acc_width": 40},
    ),
    "output_stationary": (
        _systolic(OutputStationary),
        {"rows": 8, "cols": 8, "activation_width": 8, "weight_width": 8},
    ),
    "reciprocal": (Reciprocal, {"width": 32}),
    "residual": (Residual, {"lanes": 8, "words": 64, "width": 24, "tokens": 1}),
    "rms_norm": (
        _rms_norm,
        {"lanes": 8, "words": 64, "width": 24, "epsilon": 1, "norms": 4, "tokens": 1},
    ),
    "rope": (_rope, {"lanes": 8, "head_words": 8, "base": 10000, "tokens": 1}),
    "rsqrt": (Rsqrt, {"width": 62}),
    "sampler": (Sampler, {"lanes": 8, "vocab_size": 32000, "fraction": 12}),
    "scale": (Scale, {"lanes": 8, "acc_width": 40, "tokens": 1}),
    "softmax_block": (SoftmaxBlock, {"lanes": 8, "tokens": 1}),
    "softmax_sum": (SoftmaxSum, {"lanes": 8, "tokens": 1, "words": 64}),
    "static_quantizer": (
        _static_quantizer,
        {"lanes": 8, "channels": 512, "shift": 20, "x_width": 16, "width": 8, "group_size": 64},
    ),
    "sum_of_squares": (
        SumOfSquares,
        {"lanes": 8, "words": 64, "width": 24, "epsilon": 1, "tokens": 1},
    ),
    "swiglu": (SwiGlu, {"lanes": 8, "tokens": 1}),
    "top_k": (TopK, {"lanes": 8, "k": 5, "vocab_size": 32000}),
    "value_cache": (
        ValueCache,
        {
            "rows": 8,
            "lanes": 8,
            "n_layers": 4,
            "n_kv_heads": 4,
            "head_words": 1,
            "max_seq_len": 256,
        },
    ),
    "weight_stationary": (
        _systolic(WeightStationary),
        {"rows": 8, "cols": 8, "activation_width": 8, "weight_width": 8},
    ),
}


def build(name, settings=None):
    """The standard component ``name`` with ``settings`` changed, and its parameters.

    Raises
    ------
    ValueError
        If there is no such component or parameter, or its constructor refuses a value.
    """
    if name not in STANDARD:
        raise ValueError(f"no component {name!r}; there are {', '.join(STANDARD)}")
    make, parameters = STANDARD[name]
    for given in settings or {}:
        if given not in parameters:
            raise ValueError(f"{name} has the parameters {', '.join(parameters)}, not {given!r}")
    parameters = parameters | (settings or {})
    return make(**parameters), parameters


def price(name, target="ecp5", settings=None, route=False):
    """What a component costs: ``name, parameters, lut, ff, dsp, bram, latency, throughput`` and
    ``fmax_mhz`` (None without ``route``), as a dict.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    ValueError
        If a name or a value is wrong, or ``target`` cannot be routed.
    """
    if route and target != "ecp5":
        raise ValueError(f"only ecp5 can be routed, not {target!r}")
    component, parameters = build(name, settings)
    row = {"name": name, "parameters": parameters, **synthesise(component, target)}
    row["latency"], row["throughput"] = measure(build(name, settings)[0])
    row["fmax_mhz"] = fmax(build(name, settings)[0]) if route else None
    return row


def measure(component):
    """``(latency, throughput)`` of ``component`` in simulation, without stalls.

    Latency is the component's own ``latency``, or else the cycles from its first accepted word to
    its first output; throughput is in accepted words per cycle. Words are zeros, framed in
    operations of 64 words; other input streams give one payload. None where nothing moves.
    """
    streams = {
        name: (member, getattr(component, name))
        for name, member in component.signature.members.items()
        if not member.is_port
        and not member.dimensions
        and isinstance(member.signature, stream.Signature)
    }
    inputs = {n: s for n, (member, s) in streams.items() if member.flow == wiring.In}
    outputs = {n: s for n, (member, s) in streams.items() if member.flow == wiring.Out}
    main = inputs.get("i", next(iter(inputs.values()), None))
    sides = [s for s in inputs.values() if s is not main]
    accepted, given = [], []
    tokens = getattr(component, "tokens", 1)

    async def run(ctx):
        for s in inputs.values():
            if not isinstance(s.valid, Const):
                ctx.set(s.valid, 1)
        for s in sides:
            if isinstance(s.payload.shape(), data.StructLayout) and "tokens" in s.p.shape().members:
                ctx.set(s.p.tokens, tokens)
        for s in outputs.values():
            if not isinstance(s.ready, Const):
                ctx.set(s.ready, 1)
        for cycle in range(PATIENCE + 8 * OPERATION):
            _set_word(ctx, main, len(accepted), tokens)
            await ctx.delay(0)
            if ctx.get(main.valid) and ctx.get(main.ready):
                accepted.append(cycle)
            if any(ctx.get(s.valid) for s in outputs.values()):
                given.append(cycle)
            if len(accepted) >= 4 * OPERATION:
                break
            done = [s for s in sides if ctx.get(s.valid) and ctx.get(s.ready)]
            await ctx.tick()
            for s in done:  # each of the other inputs gives one payload
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
    if len(accepted) < 2:
        return latency, None
    return latency, round((len(accepted) - 1) / (accepted[-1] - accepted[0]), 3)


def _set_word(ctx, i, n, tokens):
    """Word ``n`` of operations of 64 words on the stream ``i``."""
    shape = i.payload.shape()
    if not isinstance(shape, data.StructLayout):
        ctx.set(i.payload, 1)
        return
    place = {
        "index": n // tokens % OPERATION,
        "token": n % tokens,
        "last": int(n % (OPERATION * tokens) == OPERATION * tokens - 1),
    }
    for name, value in place.items():
        if name in shape.members:
            ctx.set(i.payload[name], value)


def markdown(rows, target, command):
    """The table of ``rows`` from :func:`price` as a page."""
    unit = {"xilinx": "LUT6"}.get(target, "LUT4")
    lines = [
        "# What the components cost",
        "",
        f"Made by `{command}`. On {target}, each unit alone at its standard parameters.",
        "Latency in cycles; throughput in words per cycle; the clock on speed grade 6 after",
        "routing, the median of three seeds, with registers around the unit.",
        "",
        f"| unit | parameters | {unit} | FF | DSP | block RAM | latency | throughput | MHz |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        parameters = ", ".join(f"{k} {v}" for k, v in row["parameters"].items())
        cells = [row[k] for k in ("lut", "ff", "dsp", "bram", "latency", "throughput", "fmax_mhz")]
        cells = ["" if cell is None else str(cell) for cell in cells]
        lines.append(f"| {' | '.join([row['name'], parameters, *cells])} |")
    return "\n".join(lines) + "\n"
