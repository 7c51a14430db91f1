import numpy as np
import pytest
from amaranth import Const, Module, Signal, signed
from amaranth.sim import Simulator
from celosia.rtl.arithmetic.carry_save import carry_save_sum, multiply_rows


@pytest.mark.parametrize(("count", "width"), [(2, 9), (3, 12), (5, 7), (9, 16)])
def test_is_the_sum_of_signed_and_unsigned_rows(count, width):
    rng = np.random.default_rng(count)
    m = Module()
    rows = [Signal(signed(8) if n % 2 else 8) for n in range(count)]
    total = carry_save_sum(m, [*rows, Const(-3)], width)

    async def check(ctx):
        values = rng.integers(0, 128, (200, count)) - 128 * (np.arange(count) % 2)
        for case in [np.zeros(count, int), *values]:
            for row, value in zip(rows, case, strict=True):
                ctx.set(row, int(value))
            assert ctx.get(total) == (int(case.sum()) - 3) % (1 << width)

    simulator = Simulator(m)
    simulator.add_testbench(check)
    simulator.run()


@pytest.mark.parametrize(("a", "b"), [(signed(3), 1), (2, 5), (signed(5), 7), (6, 6)])
def test_product_of_rows(a, b):
    m = Module()
    a, b = Signal(a), Signal(b)
    product = multiply_rows(m, a, b)

    async def check(ctx):
        for x in range(1 << len(a)):
            for y in range(1 << len(b)):
                ctx.set(a, x)
                ctx.set(b, y)
                assert ctx.get(product) == ctx.get(a) * y

    simulator = Simulator(m)
    simulator.add_testbench(check)
    simulator.run()


def test_needs_two_rows():
    with pytest.raises(ValueError, match="a sum needs at least 2 rows, not 1"):
        carry_save_sum(Module(), [Const(1)], 4)
