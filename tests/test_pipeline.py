import random

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference import arithmetic
from celosia.rtl.stream.pipeline import (
    Pipeline,
    bit_length,
    choose,
    clamp,
    first_largest,
    halved,
    magnitude,
    round_shift,
)
from celosia.sim import bench

ANSWER = {
    "bits": 4,
    "block": 4,
    "rest": 4,
    "rounded": signed(10),
    "fixed": signed(10),
    "clamped": signed(5),
    "above": signed(9),
    "unsigned": signed(8),
    "halved": signed(5),
    "first": 3,
    "largest": signed(9),
}


class Idioms(wiring.Component):
    """All idioms of ``celosia.rtl.stream.pipeline`` side by side, in two stages."""

    i: In(
        stream.Signature(
            data.StructLayout({"x": data.ArrayLayout(signed(9), 3), "u": 10, "shift": 4})
        )
    )
    o: Out(stream.Signature(data.StructLayout(ANSWER)))

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        word, x0 = pipe.stage(self.i.p, self.i.p.x[0])
        first = first_largest(m, list(word.x))
        answers = {
            "bits": bit_length(word.u),
            "block": magnitude(m, word.x),
            "rest": magnitude(m, word.x, drop=3),
            "rounded": round_shift(m, x0, word.shift, 9),
            "fixed": round_shift(m, x0, 2, 2),
            "clamped": clamp(x0, 5),
            "above": clamp(x0, 9, low=-100),
            "unsigned": clamp(word.u, 8),
            "halved": halved(m, x0, 5),
            "first": Cat(first),
            "largest": choose(first, list(word.x)),
        }
        pipe.finish(dict(zip(answers, pipe.stage(*answers.values()), strict=True)))
        return m


def questions():
    chooser = random.Random(3)
    edges = [-256, 255, -1, 0, 1, 15, 16, -16, -17, 29, 30, 31, -33, -34, -35]
    for value in edges:
        for shift in (0, 1, 8, 9):
            yield {"x": [value, 0, -1], "u": value & 1023, "shift": shift}
    for a in (-256, 0, 255):  # equals, in all places
        yield from ({"x": x, "u": 0, "shift": 0} for x in ([a, a, a], [-1, a, a], [a, -2, a]))
    for _ in range(300):
        x = [chooser.randrange(-256, 256) >> chooser.randrange(9) for _ in range(3)]
        u = chooser.randrange(1024) >> chooser.randrange(10)
        yield {"x": x, "u": u, "shift": chooser.randrange(10)}


def test_idioms_are_the_references():
    inputs = [*questions()]
    cases = [{"inputs": inputs, "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    for result in bench.run_many(Idioms(), cases):
        for q, answer in zip(inputs, result.outputs["o"], strict=True):
            x, u = np.array(q["x"]), q["u"]
            bits = int(arithmetic.magnitude_bits(x))
            assert answer == {
                "bits": u.bit_length(),
                "block": bits,
                "rest": max(bits - 3, 0),
                "rounded": arithmetic.round_shift(x[0], q["shift"]),
                "fixed": arithmetic.round_shift(x[0], 2),
                "clamped": arithmetic.saturate(x[0], 5),
                "above": max(x[0], -100),
                "unsigned": min(u, 127),
                "halved": arithmetic.saturate(arithmetic.round_shift(x[0], 1), 5),
                "first": 1 << int(np.argmax(x)),
                "largest": x.max(),
            }


def test_latency_is_the_number_of_stages():
    result = bench.run(Idioms(), [*questions()][:50])
    assert (result.latency, result.cycles) == (2, 52)


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9])
def test_bit_length_is_as_wide_as_its_largest_answer(width):
    assert len(bit_length(Signal(width))) == width.bit_length()
