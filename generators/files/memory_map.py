"""What the dataflow machine's numbers are, and where its tapes hold what: parts of the report."""

from celosia.reference.operations.recur import IntegerRecur
from celosia.reference.quantization.quantize import ACTIVATION_WIDTH
from celosia.reference.units.bias import BIAS_WIDTH
from celosia.reference.units.recurrent import STATE_WIDTH
from celosia.rtl.machine.step import Operand

__all__ = ["formats", "memory_map"]


def formats(plan):
    """Widths and binary points, as in :mod:`celosia.reference.quantization.quantize`."""
    scheme, shape = plan.model.scheme, plan.shape
    lanes, ops = scheme.lanes, plan.model.operations
    step = "a step per head and token"
    mean = ", without their mean" if scheme.key_mean == "removed" else ""
    down, keys = (f", transformed by {n}" if n else "" for n in scheme.transforms)
    mixer = {
        "keys": f"int{scheme.key_width}, {step}{keys}{mean}",
        "values": f"int{scheme.value_width}, "
        + ("a scale per channel" if scheme.value_steps == "channel" else step),
        "scores": f"int{shape.score_width} with {shape.score_fraction} fractional bits, "
        "logarithms to base 2",
    }
    if not plan.program.attends:
        fraction = next(op.state_fraction for op in ops if isinstance(op, IntegerRecur))
        mixer = {"states": f"int{STATE_WIDTH} with {fraction} fractional bits"}
    weights = f"int{scheme.weight_width}"
    if scheme.ternary:
        weights = "ternary, five in a byte" if shape.trits else "ternary, in 2 bits"
    return {
        "scheme": scheme.name,
        "weights": f"{weights}, a uint16 scale per row",
        "activations": f"int{scheme.activation_width}, an exponent per {lanes} values, "
        f"from {ACTIVATION_WIDTH} bits" + (f"; those of down{down}" if down else ""),
        "residual": f"int{scheme.residual_width} with {plan.model.residual_fraction} "
        "fractional bits",
        **mixer,
        "gates": f"int20 with {shape.gate_fraction} fractional bits",
        "accumulators": f"int{plan.shape.acc_width}",
        "logits": f"int24 with {shape.logit_fraction} fractional bits",
    }


def memory_map(plan):
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
    biases = [(step["name"], step["chunks"]) for step in plan.program.steps if step.get("bias")]
    gains = [(name, shape.dim_words) for name in plan.tapes.gains]
    return {
        "weights": _tape(weights, -(-shape.word_width // 8)),
        "scales": _tape(scales, 2 * shape.lanes),
        "gains": _tape(gains, 2 * shape.lanes),
        **({"biases": _tape(biases, BIAS_WIDTH // 8 * shape.lanes)} if biases else {}),
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
