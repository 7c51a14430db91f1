"""What a machine is made of, as one JSON object: the report beside every generated Verilog."""

import re
from dataclasses import asdict

from celosia.reference.quantize import ACTIVATION_WIDTH, LOGIT_FRACTION, SCORE_FRACTION
from celosia.rtl.machine.step import Operand

from celosia import __version__

__all__ = ["machine_report", "memories"]


def machine_report(plan, verilog=None):
    """Shapes, formats, memory map, ideal cycles, multipliers and memories of ``plan``'s machine.

    Bytes count from the start of each tape. ``memories`` are those of the Verilog text, where it is
    given. The same plan gives the same report.

    Returns
    -------
    dict
        Of what JSON knows.
    """
    model, shape = plan.model, plan.shape
    compact = plan.config.machine == "compact"
    report = {
        "celosia": __version__,
        "model": {
            "name": plan.info.name,
            "hash": plan.info.model_hash.hex(),
            **asdict(model.config),
        },
        "config": asdict(plan.config),
        "shape": {**asdict(shape), "multipliers": shape.multipliers},
        "formats": plan.formats if compact else _formats(plan),
        "memory_map": plan.memory_map if compact else _memory_map(plan),
        "multipliers": shape.multipliers,
        "macs": {str(n): plan.macs(n) for n in _positions(plan)},
        "ideal_cycles": {str(n): plan.ideal_cycles(n) for n in _positions(plan)},
    }
    if verilog is not None:
        found = memories(verilog)
        report["memories"] = found
        report["memory_bits"] = sum(memory["bits"] for memory in found)
    return report


def memories(verilog):
    """The memories in a Verilog text: ``[{"module", "name", "width", "depth", "bits"}, ...]``."""
    found = []
    for text in re.split(r"^module ", verilog, flags=re.MULTILINE)[1:]:
        module = re.match(r"\\?([^\s(]+)", text).group(1)
        for high, name, last in re.findall(
            r"^ *reg (?:\[(\d+):0\] )?\\?(\S+) +\[(\d+):0\];", text, re.MULTILINE
        ):
            size = {"width": int(high or 0) + 1, "depth": int(last) + 1}
            bits = size["width"] * size["depth"]
            found.append({"module": module, "name": name, **size, "bits": bits})
    return found


def _positions(plan):
    return [n for n in (0, 100) if n < plan.shape.max_seq_len]


def _formats(plan):
    """Widths and binary points, as in :mod:`celosia.reference.quantize`."""
    scheme = plan.model.scheme
    lanes = scheme.lanes
    return {
        "scheme": f"w{scheme.weight_width}a8kv8",
        "weights": f"int{scheme.weight_width}, a uint16 scale per row",
        "activations": f"int8, an exponent per {lanes} values, from {ACTIVATION_WIDTH} bits",
        "residual": f"int{scheme.residual_width} with {plan.model.residual_fraction} "
        "fractional bits",
        "keys": "int8, a step per head and token",
        "values": "int8, a scale per channel",
        "scores": f"int16 with {SCORE_FRACTION} fractional bits, logarithms to base 2",
        "accumulators": f"int{plan.shape.acc_width}",
        "logits": f"int24 with {LOGIT_FRACTION} fractional bits",
    }


def _memory_map(plan):
    """Each tape's word size, length and sections, in bytes."""
    shape = plan.shape
    weights, scales = [], []
    for step in plan.program.steps:
        operand = step.get("operand", Operand.TAPE)
        if operand == Operand.TAPE:
            weights.append((step["name"], step["tiles"] * step["words"]))
        if operand != Operand.KEYS:
            scales.append((step["name"], step["chunks"]))
    for sections, words in ((weights, plan.tapes.weights), (scales, plan.tapes.scales)):
        rest = len(words) - sum(count for _, count in sections)
        if rest:
            sections.append(("embedding", rest))
    gains = [(name, shape.dim_words) for name in plan.tapes.gains]
    return {
        "weights": _tape(weights, -(-shape.word_width // 8)),
        "scales": _tape(scales, 2 * shape.lanes),
        "gains": _tape(gains, 2 * shape.lanes),
    }


def _tape(sections, word_bytes):
    """Sections ``(name, words)`` with their addresses; neighbours of one name are joined."""
    joined = []
    address = 0
    for name, words in sections:
        size = words * word_bytes
        if joined and joined[-1]["name"] == name:
            joined[-1]["bytes"] += size
        else:
            joined.append({"name": name, "address": address, "bytes": size})
        address += size
    return {"word_bytes": word_bytes, "bytes": address, "sections": joined}
