"""Broken framing: an error flag, and the next vector right, of every unit with framed words."""

import numpy as np
import pytest
from celosia.reference.functions.function_table import named
from celosia.rtl.activation.gate import Gate
from celosia.rtl.activation.soft_cap import SoftCap
from celosia.rtl.attention.head_quantize import HeadQuantize
from celosia.rtl.attention.rope_halves import HeadPairs
from celosia.rtl.attention.softmax import Softmax
from celosia.rtl.attention.softmax_block import SoftmaxBlock
from celosia.rtl.functions.function_table import Function
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.mac.bias import Bias
from celosia.rtl.mac.scale import Scale
from celosia.rtl.norm.layer_norm import LayerNorm
from celosia.rtl.norm.residual import Residual
from celosia.rtl.norm.rms_norm import RmsNorm
from celosia.rtl.norm.stream_norm import StreamNorm
from celosia.rtl.norm.sum_of_squares import SumOfSquares
from celosia.rtl.quantize.block_quantize import BlockQuantize
from celosia.rtl.quantize.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.quantize.hadamard import Hadamard
from celosia.rtl.quantize.quantizer import StaticQuantizer
from celosia.rtl.stream.frame_guard import FrameGuard, Guarded
from celosia.rtl.stream.reshape import Transposer, WidthConverter
from celosia.rtl.stream.words import framed
from celosia.rtl.token.sampler import Sampler
from celosia.rtl.token.top_k import TopK, TopKSampler
from python_bench import run, watch

LANES, WORDS = 2, 8
N = LANES * WORDS
GAINS = list(range(1, N + 1))


class Wire(FrameGuard):
    """A guard alone: its words are its results."""

    def __init__(self):
        super().__init__(framed(LANES, 8), WORDS, ended=True)


UNITS = {
    "bias": lambda: Bias(LANES),
    "block_quantize": lambda: BlockQuantize(LANES, 16),
    "dynamic_quantizer": lambda: DynamicQuantizer(LANES, WORDS),
    "function": lambda: Function(named("sigmoid"), LANES),
    "gate": lambda: Gate(LANES),
    "guard": Wire,
    "hadamard": lambda: Hadamard(N, LANES, 16),
    "head_pairs": lambda: HeadPairs(LANES, WORDS // 2, 16),
    "head_quantize": lambda: HeadQuantize(LANES, WORDS // 2),
    "layer_norm": lambda: LayerNorm(LANES, WORDS, 16, 1, GAINS, GAINS),
    "residual": lambda: Residual(LANES, WORDS, 20),
    "rms_norm": lambda: RmsNorm(LANES, WORDS, 20, 1, [GAINS]),
    "sampler": lambda: Sampler(LANES, N),
    "scale": lambda: Scale(LANES, 20),
    "soft_cap": lambda: SoftCap(LANES, 128),
    "softmax": lambda: Softmax(LANES, WORDS, 2.0**-8),
    "softmax_block": lambda: SoftmaxBlock(LANES),
    "static_quantizer": lambda: StaticQuantizer(LANES, GAINS, 4),
    "stream_norm": lambda: StreamNorm(LANES, WORDS, 1, [GAINS], [0]),
    "sum_of_squares": lambda: SumOfSquares(LANES, WORDS, 20, 1),
    "top_k": lambda: TopK(LANES, 2, N),
    "top_k_sampler": lambda: TopKSampler(LANES, 2, N),
    "transposer": lambda: Transposer(LANES, 8),
    "width_converter": lambda: WidthConverter(LANES, 4, 8),
}


def guarded(name):
    unit = UNITS[name]()
    return unit if hasattr(unit, "error") else Guarded(unit, WORDS)


def vector(shape, k):
    """Vector ``k`` for a unit whose words have ``shape``: all of its members, small numbers."""
    chooser = np.random.default_rng(k)
    for index in range(WORDS):
        word = {"token": 0, "index": index, "argument": 0, "last": int(index == WORDS - 1)}
        word["data"] = [int(x) for x in chooser.integers(-100, 100, LANES)]
        for name, field in shape:
            if name == "mask":
                word[name] = (1 << LANES) - 1
            elif name == "load":
                word[name] = 1
            elif name not in word:
                many = getattr(field.shape, "length", None)
                word[name] = [3] * many if many else 0
        yield word


def broken(words):
    """Ways in which a vector can be wrong: too short at each end, a gap, too long."""
    yield "cut short", words[:3]
    yield "last too early", [*words[:3], {**words[3], "last": 1}]
    yield "a gap", [*words[:2], *words[3:]]
    yield "a late start", words[2:]
    yield "too long", [*[{**w, "last": 0} for w in words], {**words[-1], "index": WORDS}]


#: Units of each kind of frame; the others are guarded in the slow tests.
FIRST = ("guard", "hadamard", "head_quantize", "sampler", "softmax", "top_k")


@pytest.mark.parametrize(
    "name",
    [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in UNITS],
)
def test_the_vector_behind_a_broken_one_is_right(name):
    shape = guarded(name).i.payload.shape()
    first, second, third = ([*vector(shape, k)] for k in range(3))
    results = [run(guarded(name), [*first, *third]), run(guarded(name), first)]
    right = results[0][len(results[1]) :]
    assert right
    for stall, (what, words) in zip((0.0, 0.5, 0.0, 0.5, 0.0), broken(second), strict=True):
        got = watch(guarded(name), [*first, *words, *third], stall, signals=["error"])
        assert got.words[: len(results[1])] == results[1], what
        assert got.words[-len(right) :] == right, what
        allowed = name == "softmax" and what == "last too early"
        assert got.signals == {"error": int(not allowed)}, what
    got = watch(guarded(name), [*first, *second, *third], 0.5, signals=["error"])
    assert got.signals == {"error": 0}
    assert got.words[-len(right) :] == right


@pytest.mark.parametrize("mode", [{}, {"ended": True}, {"shorter": True}])
def test_whatever_comes_vectors_are_whole(mode):
    guard = FrameGuard(framed(1, 8), 4, **mode)
    chooser, words = np.random.default_rng(len(mode)), []
    for index in np.where(
        chooser.random(600) < 0.7, np.arange(600) % 4, chooser.integers(0, 6, 600)
    ):
        word = {"data": [1], "token": 0, "index": int(index), "argument": 0}
        words.append(word | {"last": int(chooser.random() < (0.3 if index == 3 else 0.1))})
    got = watch(guard, words, 0.3, signals=["error"])
    assert len(got.words) > 200
    assert got.signals == {"error": 1}
    place = 0
    for word in got.words:
        assert word["index"] == place
        ends = word["last"] if mode == {"shorter": True} else place == 3
        assert not word["last"] or ends
        assert word["last"] or not (ends and mode)
        place = 0 if ends else place + 1
        assert place < 4


def test_shorter_vectors_pass_and_broken_ones_end():
    def guard():
        return FrameGuard(framed(LANES, 8), WORDS, shorter=True)

    shape = guard().i.payload.shape()
    words = [*vector(shape, 0)]
    short = [*words[:2], {**words[2], "last": 1}]
    assert run(guard(), [*short, *words, *short]) == [*short, *words, *short]
    got = watch(guard(), [*words[:2], *short], signals=["error"])
    zero = {"data": [0] * LANES, "token": 0, "index": 2, "argument": 0, "last": 1}
    assert (got.words, got.signals) == ([*words[:2], zero, *short], {"error": 1})
    endless = [{**word, "last": 0} for word in words]
    for beyond in ([], [{**words[0], "index": WORDS}]):
        got = watch(guard(), [*endless, *beyond, *short], signals=["error"])
        assert (got.words, got.signals) == ([*words, *short], {"error": 1})


@pytest.mark.parametrize(
    ("unit", "arguments", "message"),
    [
        (FrameGuard, (framed(2, 8), 0), "words must be from 1 to 65536, not 0"),
        (Guarded, (Scale(2, 20), 0), "words must be from 1 to 65536, not 0"),
        (Guarded, (Reciprocal(8), 4), "framed words and no guard, unlike Reciprocal"),
        (Guarded, (Hadamard(4, 2, 8), 2), "framed words and no guard, unlike Hadamard"),
    ],
)
def test_bad_parameters(unit, arguments, message):
    with pytest.raises(ValueError, match=message):
        unit(*arguments)
