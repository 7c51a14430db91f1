import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from celosia.reference.arithmetic import saturate
from celosia.rtl.norm.residual import Residual
from celosia.sim import bench


class Counted(wiring.Component):
    """A residual stream, and how many operations ended in it."""

    def __init__(self, residual):
        self.residual = residual
        members = residual.signature.members
        super().__init__({"i": members["i"], "o": members["o"], "count": Out(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.residual = residual = self.residual
        connect(m, flipped(self.i), residual.i)
        connect(m, residual.o, flipped(self.o))
        m.d.sync += self.count.eq(self.count + residual.ended)
        return m


def operations(lanes, words, tokens, seed, n_operations):
    """Loads of one token at a time, then additions to groups; extreme values among them."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << 23), (1 << 23) - 1

    def word(token, index, last, load):
        kind = rng.integers(0, 4)
        block = rng.integers(low, high + 1, lanes) >> rng.integers(0, 24)
        if kind == 0:
            block = rng.choice([low, high, 0, -1], lanes)
        if kind == 1:
            block = np.full(lanes, rng.choice([low, high]))
        frame = {"token": token, "index": index, "argument": int(rng.integers(256)), "last": last}
        return {"data": block, **frame, "keep": 1 - load, "norm": int(rng.integers(1024))}

    for token in range(tokens):
        for index in range(words):
            yield word(token, index, index == words - 1, 1)
    for n in range(n_operations):
        group = int(rng.integers(1, tokens + 1)) if n % 4 else tokens
        for index in range(words):
            for token in range(group):
                last = index == words - 1 and token == group - 1
                yield word(token, index, last, int(n % 7 == 5))


def replay(inputs, width):
    memory = {}
    for word in inputs:
        word = dict(word)
        place = word["token"], word["index"]
        old = memory[place] if word.pop("keep") else 0
        memory[place] = saturate(old + word["data"], width)
        yield word | {"data": memory[place].tolist()}


def test_quiet_words_are_added_but_not_passed_on():
    """Every other operation is quiet; each of those is counted."""
    inputs = [*operations(2, 3, 2, seed=4, n_operations=40)]
    quiet, operation = [], 0
    for word in inputs:
        quiet.append(operation % 2)
        operation += word["last"]
    y = [word for word, hidden in zip(replay(inputs, 22), quiet, strict=True) if not hidden]
    marked = [word | {"normed": 1 - hidden} for word, hidden in zip(inputs, quiet, strict=True)]
    cases = [{"inputs": marked, "counts": len(y), "stall": s, "after": 9} for s in (0.0, 0.5)]
    for result in bench.run_many(Counted(Residual(2, 3, 22, 2, quiet=True)), cases):
        assert result.outputs["o"] == y
        assert result.signals["count"] == sum(
            word["last"] for word, hidden in zip(inputs, quiet, strict=True) if hidden
        )


def waiting(places):
    """The cycles lost where a word follows one at the same place within less than 3 cycles."""
    accepted, cycle = {}, -1
    for place in places:
        cycle = max(cycle + 1, accepted.get(place, -3) + 3)
        accepted[place] = cycle
    return cycle + 1 - len(places)


@pytest.mark.parametrize(
    ("lanes", "words", "width", "tokens"), [(4, 3, 24, 1), (2, 1, 20, 4), (2, 2, 25, 1)]
)
def test_matches_reference(lanes, words, width, tokens):
    inputs = [*operations(lanes, words, tokens, seed=words, n_operations=90)]
    y = [*replay(inputs, width)]
    assert {-(1 << (width - 1)), (1 << (width - 1)) - 1} <= {v for w in y for v in w["data"]}
    cases = [{"inputs": inputs, "stall": s, "seed": n} for n, s in enumerate((0.0, 0.5, 0.2))]
    results = bench.run_many(Residual(lanes, words, width, tokens), cases)
    for result in results:
        assert result.outputs["o"] == y
    free = results[0]
    assert free.latency == Residual.latency
    waits = waiting([(w["token"], w["index"]) for w in inputs])
    assert (waits > 0) == (words <= 2)
    assert free.cycles == len(y) + waits + Residual.latency


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 24), "lanes must be from 1 to 64, not 0"),
        ((4, 0, 24), "words must be from 1 to 4096, not 0"),
        ((4, 4, 29), "width must be from 20 to 28, not 29"),
        ((4, 4, 24, 65), "tokens must be from 1 to 64, not 65"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Residual(*arguments)
