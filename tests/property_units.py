"""Units of drawn shapes for test_properties: component, inputs and expected outputs."""

import numpy as np
import test_hadamard
import test_layer_norm
import test_systolic_array
from celosia.reference.units.embedding import embedding as look_up
from celosia.reference.units.hadamard import cores
from celosia.reference.units.hadamard import hadamard as transform
from celosia.reference.units.layer_norm import layer_norm as normalised
from celosia.reference.units.systolic_array import matmul
from celosia.rtl.attention.rope_halves import HeadPairs
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.output_stationary import OutputStationary
from celosia.rtl.norm.layer_norm import LayerNorm
from celosia.rtl.quantize.hadamard import Hadamard
from celosia.rtl.stream.reshape import Transposer, WidthConverter
from celosia.rtl.token.embedding import Embedding
from framing import frame
from hypothesis import strategies as st

__all__ = ["UNITS"]

FORMATS = [(8, 8, False), (8, 4, False), (4, 4, False), (4, 2, False), (8, 2, True), (4, 2, True)]


def embedding(lanes, words, vocab_size, width, seed):
    chooser, half = np.random.default_rng(seed), 1 << (width - 1)
    rows = chooser.integers(-half, half, (vocab_size, lanes * words))
    scales, tokens = chooser.integers(0, 1 << 16, vocab_size), chooser.integers(0, vocab_size, 20)
    expected = [
        word
        for x, scale in zip(*look_up(rows, scales, tokens), strict=True)
        for word in frame(x.reshape(-1, 1, lanes), scale=np.full((words, 1), scale))
    ]
    return Embedding(lanes, rows, scales, width), tokens.tolist(), expected


def hadamard(core, power, lanes, width, o_width, tokens, seed):
    n = core * lanes * power
    if n < 2:
        n, lanes = 4, 2
    x = test_hadamard.vectors(n, lanes, width, seed)
    y = transform(x, lanes, o_width)
    unit = Hadamard(n, lanes, width, o_width, tokens)
    return unit, *(test_hadamard.words_of(v, lanes, tokens) for v in (x, y))


def head_pairs(lanes, head_words, width, back, seed):
    half, n = 1 << (width - 1), lanes * head_words
    x = np.random.default_rng(seed).integers(-half, half, (4, n))
    order = np.arange(n).reshape(2, -1).T.reshape(-1)
    pair = [frame(v.reshape(-1, 1, lanes)) for v in (x, x[:, order])]
    return HeadPairs(lanes, head_words, width, back), *(reversed(pair) if back else pair)


def layer_norm(lanes, words, width, shift, o_width, tokens, seed):
    n = lanes * words
    x, (gains, biases) = (
        test_layer_norm.vectors(n, width, seed),
        test_layer_norm.parameters(n, seed),
    )
    y = normalised(x, gains, biases, 1 + seed, shift, o_width)
    unit = LayerNorm(lanes, words, width, 1 + seed, gains, biases, shift, o_width, tokens)
    return unit, *(test_layer_norm.words_of(v, lanes, tokens) for v in (x, y))


def output_stationary(rows, groups, form, packed, seed):
    activation_width, weight_width, ternary = FORMATS[form]
    packed = packed and not ternary
    packing = "none" if not packed else "25x18" if weight_width == 8 else "18x18"
    form = MacFormat(activation_width, weight_width, ternary, packing)
    cols, chooser = groups * form.group, np.random.default_rng(seed)
    i, o = [], []
    for _ in range(6):
        k, m = int(chooser.integers(1, 2 * rows + 1)), int(chooser.integers(1, rows + 1))
        a = test_systolic_array.draw(chooser, activation_width, (m, k))
        b = test_systolic_array.draw(chooser, weight_width, (k, cols))
        i += test_systolic_array.beats(a, b, rows)
        o += test_systolic_array.framed(matmul(a, b, ternary))
    return OutputStationary(rows, cols, form), i, o


def transposer(lanes, width, seed):
    half = 1 << (width - 1)
    tiles = np.random.default_rng(seed).integers(-half, half, (5, lanes, lanes))
    pair = (frame(t.reshape(-1, 1, lanes), seed % 256) for t in (tiles, tiles.swapaxes(1, 2)))
    return Transposer(lanes, width), *pair


def width_converter(lanes, o_lanes, width, seed):
    half, chooser = 1 << (width - 1), np.random.default_rng(seed)
    i, o = [], []
    for k in range(6):
        x = chooser.integers(-half, half, int(chooser.integers(1, 9)) * lanes)
        i += frame(x.reshape(-1, 1, lanes), k)
        o += frame(np.pad(x, (0, -len(x) % o_lanes)).reshape(-1, 1, o_lanes), k)
    return WidthConverter(lanes, o_lanes, width), i, o


def whole(low, high):
    return st.integers(low, high)


def power_of_two(low, high):
    """A power of two from ``2**low`` to ``2**high``."""
    return st.integers(low, high).map(lambda n: 1 << n)


UNITS = {
    "embedding": (
        embedding,
        {
            "lanes": power_of_two(0, 3),
            "words": whole(1, 4),
            "vocab_size": whole(1, 9),
            "width": whole(2, 16),
        },
    ),
    "hadamard": (
        hadamard,
        {
            "core": st.sampled_from([1, *[c for c in cores() if c <= 28]]),
            "power": power_of_two(0, 2),
            "lanes": power_of_two(0, 2),
            "width": whole(4, 24),
            "o_width": whole(4, 24),
            "tokens": whole(1, 3),
        },
    ),
    "head_pairs": (
        head_pairs,
        {
            "lanes": power_of_two(1, 3),
            "head_words": whole(1, 7),
            "width": whole(2, 24),
            "back": st.booleans(),
        },
    ),
    "layer_norm": (
        layer_norm,
        {
            "lanes": power_of_two(0, 3),
            "words": whole(2, 7),
            "width": whole(4, 18),
            "shift": whole(0, 30),
            "o_width": whole(4, 24),
            "tokens": whole(1, 3),
        },
    ),
    "output_stationary": (
        output_stationary,
        {
            "rows": whole(1, 5),
            "groups": whole(1, 3),
            "form": whole(0, len(FORMATS) - 1),
            "packed": st.booleans(),
        },
    ),
    "transposer": (transposer, {"lanes": power_of_two(0, 3), "width": whole(2, 24)}),
    "width_converter": (
        width_converter,
        {
            "lanes": power_of_two(0, 4),
            "o_lanes": power_of_two(0, 4),
            "width": whole(2, 24),
        },
    ),
}
