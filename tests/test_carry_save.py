import numpy as np
import pytest
from amaranth import Const, Module, Signal, signed
from amaranth.sim import Simulator
from celosia.rtl.carry_save import carry_save_sum


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


def test_needs_two_rows():
    with pytest.raises(ValueError, match="a sum needs at least 2 rows, not 1"):
        carry_save_sum(Module(), [Const(1)], 4)
