import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped
from celosia.reference.units.router import FARTHEST, router
from celosia.rtl.token.router import Router
from celosia.sim import bench
from test_sampler import payloads

SHAPES = [
    (8, 20, 3, 14, False),
    (4, 4, 4, 10, True),
    (1, 3, 1, 14, False),
    (2, 5, 2, 0, True),
    pytest.param(16, 64, 8, 12, False, marks=pytest.mark.slow),
]


def vectors(n, fraction, seed):
    """Logarithms of ``n`` experts: alike, far apart, ordered, at the limits, random."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << 23), (1 << 23) - 1
    yield np.zeros(n, np.int64)
    yield np.arange(n) % 3
    yield -np.arange(n)
    yield rng.choice([low, high, 0, -1], n)
    yield np.where(np.arange(n) == n // 2, high, low)
    yield -(np.arange(n) * (1 << fraction))
    for spread in (1, 3, 30, 40):
        yield np.clip(rng.normal(0, spread * 2.0**fraction, n), low, high).astype(np.int64)


@pytest.mark.parametrize(("lanes", "n", "k", "fraction", "renormalise"), SHAPES)
def test_matches_reference(lanes, n, k, fraction, renormalise):
    x = [*vectors(n, fraction, seed=n)]
    numbers, mantissas, shifts = router(np.array(x), k, fraction, renormalise)
    weights = [
        {"mantissa": mantissa, "shift": shift}
        for mantissa, shift in zip(mantissas.ravel().tolist(), shifts.ravel().tolist(), strict=True)
    ]
    inputs = [word for logarithms in x for word in payloads(logarithms, lanes)]
    counts = {"numbers": numbers.size, "o": numbers.size}
    component = Router(lanes, n, k, fraction, renormalise)
    cases = [{"inputs": inputs, "counts": counts, "stall": s, "seed": 3} for s in (0.0, 0.5)]
    for result in bench.run_many(component, cases):
        assert result.outputs["numbers"] == numbers.ravel().tolist()
        assert result.outputs["o"] == weights


class Unheard(wiring.Component):
    """A router whose numbers nobody takes."""

    def __init__(self, *arguments):
        self.router = Router(*arguments)
        members = self.router.signature.members
        super().__init__({"i": members["i"], "o": members["o"]})

    def elaborate(self, platform):
        m = Module()
        m.submodules.router = self.router
        connect(m, flipped(self.i), self.router.i)
        connect(m, self.router.o, flipped(self.o))
        return m


def test_all_numbers_may_wait():
    x = [*vectors(9, 14, seed=1)][-1]
    result = bench.run(Unheard(4, 9, 6, 14, True), [*payloads(x, 4)], counts=6)
    _, mantissas, _ = router(x, 6, 14, True)
    assert [weight["mantissa"] for weight in result.outputs["o"]] == mantissas.tolist()


@pytest.mark.parametrize("renormalise", [False, True])
def test_reference_is_a_softmax(renormalise):
    fraction = 12
    x = np.array([*vectors(12, fraction, seed=5)])
    numbers, mantissas, shifts = router(x, 4, fraction, renormalise)
    powers = np.exp2((x - x.max(axis=-1, keepdims=True)) / 2.0**fraction)
    chosen = np.take_along_axis(powers, numbers, axis=-1)
    exact = chosen / (chosen if renormalise else powers).sum(axis=-1, keepdims=True)
    weights = mantissas * 2.0 ** (-15 - shifts)
    near = exact > 2.0 ** (1 - FARTHEST)
    np.testing.assert_allclose(weights[near], exact[near], rtol=2e-4)
    assert (weights[~near] < 2.0 ** (2 - FARTHEST)).all()
    assert 1 << 15 <= mantissas.min() <= mantissas.max() <= 1 << 16
    assert shifts.min() >= 0
    for row, best in zip(x, numbers, strict=True):
        assert best.tolist() == sorted(range(12), key=lambda e: -row[e])[:4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 4, 2, 14, True), "lanes must be a power of two from 1 to 64, not 3"),
        ((4, 0, 1, 14, True), "n must be from 1 to 1024, not 0"),
        ((4, 4, 5, 14, True), "k must be from 1 to 4, not 5"),
        ((4, 4, 2, 15, True), "fraction must be from 0 to 14, not 15"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Router(*arguments)
