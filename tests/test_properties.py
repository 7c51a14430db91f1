"""Random shapes, not only random data: units of drawn parameters against their references.

A failure names the command that repeats it: ``python tests/test_properties.py UNIT NAME=VALUE ...``
"""

import sys

import numpy as np
import property_units
import pytest
import test_block_quantize
import test_scale
import test_softmax
import test_softmax_block
from amaranth.hdl import unsigned
from celosia.reference import functions, kv_controller
from celosia.reference.head_quantize import head_quantize
from celosia.reference.quantizer import dequantize, dynamic_quantize, static_quantize
from celosia.reference.top_k import top_k
from celosia.rtl.block_quantize import BlockQuantize
from celosia.rtl.dequantizer import Dequantizer
from celosia.rtl.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.head_quantize import HeadQuantize
from celosia.rtl.kv_controller import KvLinear, KvRing
from celosia.rtl.kv_paged import KvPaged
from celosia.rtl.quantizer import StaticQuantizer
from celosia.rtl.reciprocal import Reciprocal
from celosia.rtl.rsqrt import Rsqrt
from celosia.rtl.scale import Scale
from celosia.rtl.softmax import Softmax
from celosia.rtl.softmax_block import SoftmaxBlock
from celosia.rtl.top_k import TopK
from framing import frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from python_bench import run
from test_kv_controller import answers, commands
from test_sampler import payloads
from test_top_k import ranked

N = 60  # payloads of a case, or so


def whole(low, high):
    return st.integers(low, high)


def power(high):
    """A power of two from 1 to ``2**high``."""
    return st.integers(0, high).map(lambda n: 1 << n)


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


def _vectors(seed, n, size, width):
    chooser = np.random.default_rng(seed)
    top = 1 << (width - 1)
    x = chooser.integers(-top, top, (n, size)) >> chooser.integers(0, width, (n, 1))
    return np.where(chooser.random((n, 1)) < 0.2, chooser.choice([-top, top - 1, 0], (n, size)), x)


def _framed(x, lanes, **more):
    words = []
    for k, vector in enumerate(x):
        columns = {name: np.full((len(vector) // lanes, 1), v[k]) for name, v in more.items()}
        words += frame(vector.reshape(-1, 1, lanes), k % 256, **columns)
    return words


def dynamic_quantizer(lanes, words, x_width, width, symmetric, seed):
    x = _vectors(seed, max(3, N // words), lanes * words, x_width)
    q, steps, zero_point = dynamic_quantize(x, width, symmetric)
    more = {"scale": steps} | ({} if symmetric else {"zero_point": zero_point})
    component = DynamicQuantizer(lanes, words, x_width, width, symmetric)
    return component, _framed(x, lanes), _framed(q, lanes, **more)


def static_quantizer(lanes, words, shift, x_width, width, zero, seed):
    chooser = np.random.default_rng(seed)
    channels = lanes * words
    multipliers = chooser.integers(0, 1 << 16, channels)
    zero_points = chooser.integers(0, 1 << width, channels) if zero else None
    x = _vectors(seed, max(3, N // words), channels, x_width)
    q = static_quantize(x, multipliers, shift, width, zero_points)
    listed = zero_points.tolist() if zero else None
    component = StaticQuantizer(lanes, multipliers.tolist(), shift, x_width, width, 1, listed)
    return component, _framed(x, lanes), _framed(q, lanes)


def dequantizer(lanes, acc_width, sum_width, groups, width, shift, seed):
    chooser = np.random.default_rng(seed)
    shape = (groups, max(2, N // groups), lanes)
    top, half = 1 << (acc_width - 1), 1 << (sum_width - 1)
    parts = {
        "data": chooser.integers(-top, top, shape),
        "scale": chooser.integers(0, 1 << 16, shape),
        "zero_point": chooser.integers(0, 256, shape),
        "sums": chooser.integers(-half, half, shape),
    }
    y = dequantize(parts["data"], parts["scale"], shift, parts["zero_point"], parts["sums"], width)
    inputs = [
        {name: part[g, k].tolist() for name, part in parts.items()}
        | {"end": int(g == groups - 1), "token": 0, "index": k, "argument": shift, "last": 0}
        for k in range(shape[1])
        for g in range(groups)
    ]
    expected = [word | {"last": 0} for word in frame(y[:, None], shift)]
    return Dequantizer(lanes, acc_width, sum_width, groups, width), inputs, expected


def head_quantizer(lanes, head_words, tokens, seed):
    heads = max(2, N // (head_words * tokens))
    x = _vectors(seed, heads * tokens, head_words * lanes, 16).reshape(heads, tokens, -1)
    q, step = head_quantize(x)

    def words(values):
        split = values.reshape(heads, tokens, head_words, lanes).transpose(0, 2, 1, 3)
        return split.reshape(-1, tokens, lanes)

    head, word = np.divmod(np.arange(heads * head_words), head_words)
    more = {
        "step": np.repeat(step, head_words, axis=0),
        "head": np.repeat(head[:, None], tokens, axis=1),
        "word": np.repeat(word[:, None], tokens, axis=1),
    }
    return HeadQuantize(lanes, head_words, tokens), frame(words(x)), frame(words(q), **more)


def top(lanes, k, more, seed):
    vocab_size = k + more
    chooser = np.random.default_rng(seed)
    vectors = [chooser.integers(-3, 3, vocab_size) << int(chooser.integers(20)) for _ in range(4)]
    assert len(top_k(vectors[0], k)) == k
    inputs = [word for logits in vectors for word in payloads(logits, lanes)]
    return TopK(lanes, k, vocab_size), inputs, [e for v in vectors for e in ranked(v, k)]


def _controller(component, seed, **parameters):
    inputs = commands(seed, 80, parameters["n_sequences"])
    model = getattr(kv_controller, component.__name__)(**parameters)
    return component(**parameters), inputs, answers(model, inputs)


def kv_linear(**parameters):
    return _controller(KvLinear, **parameters)


def kv_ring(n_slots, window, **parameters):
    return _controller(KvRing, n_slots=n_slots, window=min(window, n_slots), **parameters)


def kv_paged(**parameters):
    return _controller(KvPaged, **parameters)


SEQUENCES = {"n_sequences": whole(1, 5), "group": whole(1, 3)}
UNITS = {
    "block_quantize": (
        block_quantize,
        {"lanes": whole(1, 9), "width": whole(8, 39), "tokens": whole(1, 5)},
    ),
    "dequantizer": (
        dequantizer,
        {
            "lanes": power(2),
            "acc_width": whole(8, 40),
            "sum_width": whole(2, 24),
            "groups": whole(1, 5),
            "width": whole(8, 32),
            "shift": whole(0, 62),
        },
    ),
    "dynamic_quantizer": (
        dynamic_quantizer,
        {
            "lanes": power(3),
            "words": whole(1, 6),
            "x_width": whole(8, 18),
            "width": whole(2, 8),
            "symmetric": st.booleans(),
        },
    ),
    "head_quantizer": (
        head_quantizer,
        {"lanes": power(3), "head_words": whole(1, 5), "tokens": whole(1, 4)},
    ),
    "kv_linear": (kv_linear, {"n_slots": whole(1, 9), **SEQUENCES}),
    "kv_paged": (
        kv_paged,
        {
            "n_blocks": whole(1, 9),
            "block_size": power(3),
            "max_blocks": power(2),
            **SEQUENCES,
        },
    ),
    "kv_ring": (kv_ring, {"n_slots": whole(1, 9), "window": whole(1, 9), **SEQUENCES}),
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
    "static_quantizer": (
        static_quantizer,
        {
            "lanes": power(2),
            "words": whole(1, 5),
            "shift": whole(0, 40),
            "x_width": whole(2, 24),
            "width": whole(2, 8),
            "zero": st.booleans(),
        },
    ),
    "top_k": (top, {"lanes": power(3), "k": whole(1, 6), "more": whole(0, 20)}),
    **property_units.UNITS,
}


def check(name, stall, **parameters):
    """Build the unit ``name`` and compare it with its reference."""
    component, inputs, expected, *constant = UNITS[name][0](**parameters)
    expected = [*expected]
    y = run(component, inputs, stall, parameters["seed"], *constant, n_outputs=len(expected))
    if y != expected:
        words = " ".join(f"{key}={value}" for key, value in {"stall": stall, **parameters}.items())
        pairs = enumerate(zip(y, expected, strict=False))
        place = next((n for n, (a, b) in pairs if a != b), len(y))
        command = f"python tests/test_properties.py {name} {words}"
        raise AssertionError(f"payload {place} differs; repeat with:\n    {command}")


def examples(name, n):
    """Check ``n`` drawn shapes of the unit ``name``, the same ones on every run."""

    @settings(
        max_examples=n,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(
        st.fixed_dictionaries(
            {"stall": st.sampled_from([0.0, 0.5]), "seed": whole(0, 999), **UNITS[name][1]}
        )
    )
    def drawn(parameters):
        check(name, **parameters)

    drawn()


@pytest.mark.parametrize("name", [*UNITS])
def test_drawn_shapes(name):
    examples(name, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*UNITS])
def test_many_drawn_shapes(name):
    examples(name, 60)


def test_a_failure_names_its_command(monkeypatch):
    def faulty(width, seed):
        component, inputs, expected = reciprocal(width, seed)
        return component, inputs, [*expected[:-1], expected[0]]

    monkeypatch.setitem(UNITS, "reciprocal", (faulty, UNITS["reciprocal"][1]))
    with pytest.raises(AssertionError, match="payload 61 differs") as failure:
        check("reciprocal", 0.5, width=9, seed=3)
    words = str(failure.value).split()
    arguments = words[words.index("tests/test_properties.py") + 1 :]
    assert arguments == ["reciprocal", "stall=0.5", "width=9", "seed=3"]
    with pytest.raises(AssertionError, match="payload 61 differs"):
        main(arguments)
    monkeypatch.undo()
    main(arguments)


def main(arguments):
    """``UNIT NAME=VALUE ...``: one case."""
    values = dict(text.split("=") for text in arguments[1:])
    known = {"True": True, "False": False}
    parameters = {
        key: known[text] if text in known else float(text) if key == "stall" else int(text)
        for key, text in values.items()
    }
    check(arguments[0], **parameters)
    print(f"{arguments[0]} agrees with its reference")


if __name__ == "__main__":
    main(sys.argv[1:])
