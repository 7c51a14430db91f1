import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.division import ConstantDivider, divided
from celosia.sim import bench

RESULT = StructLayout({"quotient": 32, "remainder": 32})


class Streamed(wiring.Component):
    """A divider whose dividends and results are streams."""

    i: In(stream.Signature(32))
    o: Out(stream.Signature(RESULT))

    def __init__(self, divider):
        self.divider = divider
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.divider = divider = self.divider
        asked = Signal()
        m.d.comb += [
            self.i.ready.eq(~asked),
            divider.start.eq(self.i.valid & ~asked),
            divider.dividend.eq(self.i.payload),
            self.o.valid.eq(asked & divider.done),
            self.o.p.quotient.eq(divider.quotient),
            self.o.p.remainder.eq(divider.remainder),
        ]
        m.d.sync += asked.eq((asked | self.i.valid) & ~(self.o.valid & self.o.ready))
        return m


class Table(wiring.Component):
    """Quotients and remainders two cycles after their dividend, which is a stream's."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(RESULT, always_ready=True))

    def __init__(self, divisor, count):
        self.divisor, self.count = divisor, count
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        later, valid = Signal(8), Signal()
        quotient, rest = divided(m, "table", self.i.payload, later, self.divisor, self.count)
        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [
            later.eq(self.i.payload),
            valid.eq(self.i.valid),
            self.o.valid.eq(valid),
            self.o.p.quotient.eq(quotient),
            self.o.p.remainder.eq(rest),
        ]
        return m


@pytest.mark.parametrize(("width", "divisor"), [(17, 3), (20, 1), (5, 9), (21, 1023), (8, 12)])
def test_quotients(width, divisor):
    rng = random.Random(divisor)
    inputs = [0, (1 << width) - 1, *(rng.randrange(1 << width) for _ in range(40))]
    y = [dict(zip(("quotient", "remainder"), divmod(x, divisor), strict=True)) for x in inputs]
    cases = [{"inputs": inputs, "stall": s} for s in (0.0, 0.5)]
    results = bench.run_many(Streamed(ConstantDivider(width, divisor)), cases)
    for result in results:
        assert result.outputs["o"] == y
    assert results[0].latency == -(-width // 4) + 1


@pytest.mark.parametrize(("divisor", "count"), [(3, 50), (8, 200), (1, 9), (5, 1)])
def test_table(divisor, count):
    inputs = [*range(count)]
    y = [dict(zip(("quotient", "remainder"), divmod(x, divisor), strict=True)) for x in inputs]
    result = bench.run(Table(divisor, count), inputs)
    assert result.outputs["o"] == y
    assert result.latency == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((33, 3), "width must be from 1 to 32, not 33"),
        ((8, 0), "divisor must be from 1 to 1024, not 0"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConstantDivider(*arguments)
