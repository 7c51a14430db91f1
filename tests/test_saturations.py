"""rtl.saturations: every value of a narrow format, and random words."""

import numpy as np
import pytest
from amaranth import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.arithmetic import saturations
from celosia.rtl.machine.saturations import Saturations
from celosia.sim import bench


class Counted(wiring.Component):
    """Words in, their counts out."""

    def __init__(self, lanes, value_width, width):
        self.counter = Saturations(lanes, value_width, width)
        word = data.ArrayLayout(signed(value_width), lanes)
        super().__init__(
            {
                "i": In(stream.Signature(word, always_ready=True)),
                "o": Out(stream.Signature(self.counter.count.shape(), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = self.counter
        later = Signal(counter.latency)
        m.d.sync += later.eq(Cat(self.i.valid, later))
        m.d.comb += [
            counter.valid.eq(self.i.valid),
            counter.values.eq(self.i.payload),
            self.o.valid.eq(later[-1]),
            self.o.payload.eq(counter.count),
        ]
        return m


@pytest.mark.parametrize(("lanes", "value_width", "width"), [(2, 10, 5), (3, 6, 6)])
def test_counts_what_reference_counts(lanes, value_width, width):
    every = np.arange(-(1 << value_width - 1), 1 << value_width - 1)
    words = np.stack([np.roll(every, 7 * n) for n in range(lanes)], axis=1)
    got, cycles = bench.run(Counted(lanes, value_width, width), words.tolist(), stall=0.2)
    assert got == [saturations(word, width) for word in words]
    high = (1 << width - 1) - 1
    assert sum(got) == lanes * int(np.sum((every >= high) | (every <= -high - 1)))
    assert cycles >= len(words) + Saturations.latency


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8, 8), "lanes must be from 1 to 64, not 0"),
        ((2, 33, 8), "value_width must be from 2 to 32, not 33"),
        ((2, 8, 9), "width must be from 2 to 8, not 9"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Saturations(*arguments)
