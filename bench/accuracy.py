"""The references against float64 and against ONNX's own test cases: docs/accuracy.md.

    python bench/accuracy.py [-o docs/accuracy.md]

Needs the `onnx` package (`pip install "celosia[test]"`). All inputs are seeded or come with it.
"""

import argparse
import importlib
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from accuracy_units import LANES, Row, units
from celosia.reference.arithmetic import saturate
from celosia.reference.functions.function_table import named
from celosia.reference.functions.functions import reciprocal
from celosia.reference.integer import IntegerCache, Pass
from celosia.reference.operations.attention import Attention, IntegerAttention
from celosia.reference.quantization.scheme import Scheme
from celosia.reference.units import softmax as softmaxes
from celosia.reference.units.head_quantize import head_quantize
from celosia.reference.units.layer_norm import layer_norm
from celosia.reference.units.rope import rope
from celosia.reference.units.softmax import EMPTY, align, softmax_block
from celosia.reference.units.stream_norm import stream_norm

MODULES = {
    "Attention": "attention",
    "Gelu": "gelu",
    "LayerNormalization": "layernormalization",
    "RMSNormalization": "rmsnormalization",
    "RotaryEmbedding": "rotaryembedding",
    "Softmax": "softmax",
}


def fixed(x, fraction, width):
    """``x`` in units of ``2**-fraction``, saturated."""
    return saturate(np.round(np.asarray(x, np.float64) * 2.0**fraction).astype(np.int64), width)


def words(x):
    """The last axis in words of ``LANES``, zeros behind it."""
    pad = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % LANES)]
    return np.pad(x, pad).reshape(*x.shape[:-1], -1, LANES)


# One function per operator: attributes and inputs to outputs, or a reason why not (a str).


def gelu(attributes, x):
    name = "gelu_tanh" if attributes.get("approximate") == b"tanh" else "gelu"
    return named(name)(fixed(x, 12, 16)) / 4096


def layer_normalization(attributes, x, gains, biases):
    axis = attributes.get("axis", -1)
    rows = x.reshape(*x.shape[: axis % x.ndim], -1)
    n = rows.shape[-1]
    epsilon = max(1, round(attributes.get("epsilon", 1e-5) * n**2 * 4.0**14))
    rows, gains = fixed(rows, 14, 18), fixed(gains.reshape(-1), 12, 16)
    y = layer_norm(rows, gains, fixed(biases.reshape(-1), 12, 18), epsilon, 0, 18)
    return y.reshape(x.shape) / 4096


def rms_normalization(attributes, x, gains):
    """The machine's norm of whole vectors; the vector's size counts in gains and epsilon."""
    axis = attributes.get("axis", -1)
    rows = x.reshape(*x.shape[: axis % x.ndim], -1)
    n = rows.shape[-1]
    epsilon = max(1, round(attributes.get("epsilon", 1e-5) * n * 4.0**18))
    gains = gains.reshape(-1) * math.sqrt(n)
    shift = -2 - math.ceil(math.log2(np.abs(gains).max()))
    y = stream_norm(
        words(fixed(rows, 18, 24)), words(fixed(gains, 16 + shift, 16)), epsilon, shift, 24
    )
    return y.reshape(*rows.shape[:-1], -1)[..., :n].reshape(x.shape) / 65536


def rotary_embedding(attributes, x, cosine, sine, positions=None):
    shape, heads = x.shape, attributes.get("num_heads", 0)
    if x.ndim == 3:
        x = x.reshape(*shape[:2], heads, -1).transpose(0, 2, 1, 3)
    if positions is not None:
        cosine, sine = cosine[positions], sine[positions]
    size = attributes.get("rotary_embedding_dim") or x.shape[-1]
    angles = (fixed(t[:, None], 14, 16) for t in (sine, cosine))
    x = fixed(x, 12, 18)
    y = rope(x[..., :size], *angles, halves=not attributes.get("interleaved"))
    y = np.concatenate([y, x[..., size:]], axis=-1) / 4096
    return y.reshape(shape) if len(shape) == 4 else y.transpose(0, 2, 1, 3).reshape(shape)


def softmax(attributes, x):
    axis = attributes.get("axis", -1)
    x = np.moveaxis(x, axis, -1)
    if np.abs(x).max() > 88:
        return "scores beyond 16 bits (128 powers of two) saturate"
    n, shape = x.shape[-1], (*x.shape[:-1], -1, LANES)
    blocks = -(-n // LANES) * LANES
    scores = np.zeros((*x.shape[:-1], blocks), np.int64)
    scores[..., :n] = fixed(x / math.log(2), 8, 16)
    valid = np.broadcast_to(np.arange(blocks) < n, scores.shape)
    power, exponent = softmax_block(scores.reshape(shape), valid.reshape(shape))
    power, shift = align(power, exponent, exponent.max(axis=-1, initial=EMPTY, keepdims=True))
    power = (power << shift[..., None]).reshape(scores.shape)
    mantissa, exponent = reciprocal(power.sum(axis=-1, keepdims=True))
    y = power[..., :n] * mantissa * 2.0 ** (-15 - exponent)
    return np.moveaxis(y, -1, axis)


def softmax_vectors(attributes, x):
    """The unit that stands alone, of scores of 24 bits."""
    x = np.moveaxis(x, attributes.get("axis", -1), -1)
    fraction = min(20, 22 - math.ceil(math.log2(np.abs(x).max())))
    y = softmaxes.softmax(fixed(x, fraction, 24), 2.0**-fraction, LANES, 4096) / 65536
    return np.moveaxis(y, -1, attributes.get("axis", -1))


def attention(attributes, q, k, v, mask=None, past_k=None, past_v=None, lengths=None):
    """The machine's attention: keys, queries and values in 8 bits, blocks of powers."""
    if mask is not None or lengths is not None:
        return "masks given as tensors: the machine's is causal"
    if attributes.get("softcap"):
        return "softcap"
    if any(attributes.get(f"{side}_window_size", -1) >= 0 for side in ("left", "right")):
        return "windows"
    three = q.ndim == 3
    if three:
        heads, kv_heads = attributes["q_num_heads"], attributes["kv_num_heads"]
        q, k, v = (
            x.reshape(*x.shape[:2], h, -1).transpose(0, 2, 1, 3)
            for x, h in ((q, heads), (k, kv_heads), (v, kv_heads))
        )
    if past_k is not None:
        k, v = np.concatenate([past_k, k], axis=2), np.concatenate([past_v, v], axis=2)
    n, keys = q.shape[2], k.shape[2]
    positions = np.full(n, keys - 1)
    if attributes.get("is_causal"):
        positions = np.arange(n) + (0 if past_k is None else past_k.shape[2])
    positions = np.minimum(positions, keys - 1)
    factor = attributes.get("scale") or q.shape[-1] ** -0.5
    y = np.stack([_attention(*one, positions, factor) for one in zip(q, k, v, strict=True)])
    return y.transpose(0, 2, 1, 3).reshape(*y.shape[:1], n, -1) if three else y


def _attention(q, k, v, positions, factor):
    """One batch: q [heads, n, size], k and v [kv_heads, keys, size], through the integer model."""
    k_fold = 2.0**14 / np.abs(k).max()
    q_fold = factor / math.log(2) / k_fold
    bits = 14 - math.ceil(math.log2(np.abs(q).max() * q_fold))
    queries = head_quantize(np.round(q * q_fold * 2.0**bits).astype(np.int64).transpose(1, 0, 2))
    pad = ((0, 0), (0, -k.shape[1] % LANES), (0, 0))
    keys, key_steps = head_quantize(np.round(np.pad(k, pad) * k_fold).astype(np.int64))
    step = np.abs(v).max(axis=1) / 127  # [kv_heads, size]
    values = saturate(np.round(np.pad(v, pad) / step[:, None]).astype(np.int64), 8)
    fraction = 21 - math.ceil(math.log2(np.abs(v).max()))
    shift = 15 - math.floor(math.log2(step.max()) + fraction)
    size = q.shape[-1]
    unit = Attention(*"qkvy", len(q), len(k), size, factor)
    scale = np.minimum(np.round(step * 2.0 ** (fraction + shift)), 65535).astype(np.int64)
    cache = IntegerCache(keys[None], key_steps[None], values[None], np.zeros_like(key_steps)[None])
    model = SimpleNamespace(
        scheme=Scheme(lanes=LANES), head_dim=size, score_width=16, score_fraction=8
    )
    y = IntegerAttention(unit, bits - 10, scale, shift, layer=0)._attend(
        Pass(model, positions, cache, True), *queries, positions
    )
    return y.reshape(len(positions), len(q), -1).transpose(1, 0, 2) * 2.0**-fraction


OPERATORS = {
    "Attention": attention,
    "Gelu": gelu,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "RotaryEmbedding": rotary_embedding,
    "Softmax": softmax,
    "Softmax, 16 bits": softmax_vectors,
}


def onnx_cases(operator):
    """The float32 cases of one operator: name, attributes, inputs, the first output."""
    module = importlib.import_module("onnx.backend.test.case.node")
    importlib.import_module(f"onnx.backend.test.case.node.{MODULES[operator]}")
    from onnx.helper import get_attribute_value

    for case in module._NodeTestCases:
        node = case.model.graph.node[0]
        if node.op_type != operator or len(case.model.graph.node) != 1:
            continue
        given, outputs = case.data_sets[0]
        given = iter(given)
        inputs = [next(given) if name else None for name in node.input]
        if inputs[0].dtype == np.float32:
            attributes = {a.name: get_attribute_value(a) for a in node.attribute}
            yield case.name, attributes, inputs, outputs[0]


def judge(operator):
    """A Row for the cases that fit, errors relative to each case's largest value; reasons."""
    errors, reasons = [], {}
    for name, attributes, inputs, expected in onnx_cases(operator.split(",")[0]):
        y = OPERATORS[operator](attributes, *inputs)
        if isinstance(y, str):
            reasons.setdefault(y, []).append(name)
        else:
            errors.append(np.abs(y - expected).ravel() / np.abs(expected).max())
    whole = np.concatenate(errors)
    return Row(operator, "", len(errors), whole.max(), whole.mean()), reasons


def document():
    """docs/accuracy.md."""
    lines = [
        "# Accuracy of the units",
        "",
        "Written by `python bench/accuracy.py -o docs/accuracy.md`. The RTL equals these",
        "references bit for bit.",
        "",
        "## Against float64, in units of the result's last place",
        "",
        "| reference | inputs | values | largest error | mean error |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {r.what} | {r.count} | {r.largest:.2f} | {r.mean:.2f} |" for r in units()
    ]
    lines += [
        "",
        "Sums of systolic arrays, KV controllers, stores, look-ups, residual additions,",
        "and greedy or top-k choices, are exact. Over 400 greedy tokens of two models in float32",
        "(`tests/test_softmax_tokens.py`) the 16-bit softmax changes none; the machine's powers of",
        "7 bits change one, and results of 8 bits two, whose best logits are less than 0.03 apart.",
        "",
        "## Against ONNX's node test cases, relative to each case's largest value",
        "",
        "All float32 cases of these operators. Attention is the machine's: keys, values and",
        "queries in 8 bits, and so are the powers in Softmax. That of 16 bits stands alone.",
        "",
        "| operator | cases | largest error | mean error | not judged |",
        "|---|---|---|---|---|",
    ]
    for operator in OPERATORS:
        row, reasons = judge(operator)
        why = "; ".join(f"{len(names)}: {reason}" for reason, names in reasons.items())
        lines.append(f"| {operator} | {row.count} | {row.largest:.1e} | {row.mean:.1e} | {why} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="where to write the table too")
    args = parser.parse_args()
    text = document()
    print(text, end="")
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
