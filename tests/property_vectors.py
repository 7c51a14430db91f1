"""Vector units and KV-cache controllers of drawn shapes: component, inputs and expected outputs."""

import numpy as np
import test_block_quantize
import test_scale
import test_softmax
import test_softmax_block
from amaranth.hdl import unsigned
from celosia.reference.functions import functions
from celosia.reference.units import kv_controller
from celosia.reference.units.top_k import top_k
from celosia.rtl.attention.softmax import Softmax
from celosia.rtl.attention.softmax_block import SoftmaxBlock
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.functions.rsqrt import Rsqrt
from celosia.rtl.kv_cache.kv_paged import KvPaged
from celosia.rtl.mac.scale import Scale
from celosia.rtl.quantize.block_quantize import BlockQuantize
from celosia.rtl.token.top_k import TopK
from property_shapes import N, power, whole
from test_kv_controller import answers, commands
from test_sampler import payloads
from test_top_k import ranked

__all__ = ["UNITS"]


def block_quantize(lanes, width, tokens, seed):
    inputs = [*test_block_quantize.payloads(lanes, width, tokens, seed)][-N:]
    return BlockQuantize(lanes, width, tokens), inputs, map(test_block_quantize.expected, inputs)


def scale(lanes, acc_width, tokens, seed):
    inputs = [*test_scale.payloads(lanes, acc_width, tokens, seed)]
    inputs = inputs[seed % 5 :: len(inputs) // N]
    component = Scale(lanes, acc_width, tokens, kind=unsigned(4))
    return component, inputs, map(test_scale.expected, inputs)


def softmax_block(lanes, tokens, position, seed):
    inputs = [*test_softmax_block.operation(lanes, tokens, position, seed)][-N:]
    y = [test_softmax_block.expected(word, position, lanes) for word in inputs]
    return SoftmaxBlock(lanes, tokens), inputs, y, {"position": position}


def softmax(lanes, words, fraction, x_width, o_width, tokens, seed):
    arguments = (lanes, words, 2.0**-fraction, x_width, o_width, tokens)
    inputs, expected = test_softmax.work(*arguments, seed)
    ends = [n for n, word in enumerate(inputs, 1) if word["last"] and n <= 2 * N]
    return Softmax(*arguments), inputs[: ends[-1]], expected[: ends[-1]]


def _scalars(component, function, width, seed):
    chooser = np.random.default_rng(seed)
    x = [max(1, int(v) >> int(chooser.integers(0, width))) for v in chooser.integers(0, 2**62, N)]
    x = [max(1, v & ((1 << width) - 1)) for v in x] + [1, (1 << width) - 1]
    mantissas, shifts = function(np.array(x))
    pairs = zip(mantissas.tolist(), shifts.tolist(), strict=True)
    return component(width), x, [{"mantissa": a, "shift": b} for a, b in pairs]


def reciprocal(width, seed):
    return _scalars(Reciprocal, functions.reciprocal, width, seed)


def rsqrt(width, seed):
    return _scalars(Rsqrt, functions.rsqrt, width, seed)


def top(lanes, k, more, seed):
    vocab_size = k + more
    chooser = np.random.default_rng(seed)
    vectors = [chooser.integers(-3, 3, vocab_size) << int(chooser.integers(20)) for _ in range(4)]
    assert len(top_k(vectors[0], k)) == k
    inputs = [word for logits in vectors for word in payloads(logits, lanes)]
    return TopK(lanes, k, vocab_size), inputs, [e for v in vectors for e in ranked(v, k)]


def kv_paged(seed, **parameters):
    inputs = commands(seed, 80, parameters["n_sequences"])
    return KvPaged(**parameters), inputs, answers(kv_controller.KvPaged(**parameters), inputs)


UNITS = {
    "block_quantize": (
        block_quantize,
        {"lanes": whole(1, 9), "width": whole(8, 39), "tokens": whole(1, 5)},
    ),
    "kv_paged": (
        kv_paged,
        {
            "n_blocks": whole(1, 9),
            "block_size": power(3),
            "max_blocks": power(2),
            "n_sequences": whole(1, 5),
        },
    ),
    "reciprocal": (reciprocal, {"width": whole(1, 62)}),
    "rsqrt": (rsqrt, {"width": whole(1, 62)}),
    "scale": (
        scale,
        {"lanes": whole(1, 5), "acc_width": whole(20, 47), "tokens": whole(1, 4)},
    ),
    "softmax": (
        softmax,
        {
            "lanes": power(3),
            "words": whole(1, 9),
            "fraction": whole(0, 20),
            "x_width": whole(4, 24),
            "o_width": whole(8, 16),
            "tokens": whole(1, 3),
        },
    ),
    "softmax_block": (
        softmax_block,
        {"lanes": power(4), "tokens": whole(1, 4), "position": whole(0, 1000)},
    ),
    "top_k": (top, {"lanes": power(3), "k": whole(1, 6), "more": whole(0, 20)}),
}
