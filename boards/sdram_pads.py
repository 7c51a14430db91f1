"""The registers in the pins of an SDRAM."""

from amaranth import Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In
from celosia.rtl.memory.sdram import sdram_pins
from celosia.rtl.memory.sdram_timing import SdramTiming

__all__ = ["DELAY", "SdramPads", "clock_delay"]

DELAY = 5.0  # ns of an ECP5's output, the board and its input, for data on their round trip

NAMES = {"clk_en": "cke", "cs": "cs_n", "ras": "ras_n", "cas": "cas_n", "we": "we_n"}
NAMES |= {name: name for name in ("ba", "a", "dqm")}
INVERTED = ("cs", "ras", "cas", "we")  # the board's resource inverts them once more


def clock_delay(frequency, steps, timing=None):
    """How many ``steps`` of a period the chip's clock is to come after that of the registers.

    Commands change with the registers' clock, and data are taken from the pins with it, one cycle
    after their CAS latency: the delay nearest to the middle of those with which both is right.

    Parameters
    ----------
    frequency : number
        In Hz.
    steps : int
        In a period.
    timing : SdramTiming, optional

    Raises
    ------
    ValueError
        If no such delay is right.
    """
    timing = timing or SdramTiming()
    period = 1e9 / frequency
    earliest = max(timing.setup, period - DELAY - timing.oh)
    latest = min(period - timing.hold, 2 * period - DELAY - timing.ac)
    middle = (earliest + latest) / 2
    best = min(range(steps), key=lambda step: abs(step * period / steps - middle))
    if not earliest <= best * period / steps <= latest:
        raise ValueError(
            f"no phase of the SDRAM's clock is right at {frequency / 1e6:g} MHz in {steps} steps"
        )
    return best


class SdramPads(wiring.Component):
    """Between a controller and the pins: a register in each pin and each way.

    Parameters
    ----------
    ports : object
        The resource ``sdram`` of a board, but for its clock: :class:`amaranth.lib.io.PortLike`
        attributes ``clk_en``, ``cs``, ``ras``, ``cas``, ``we``, ``ba``, ``a``, ``dqm`` and ``dq``.

    Members
    -------
    pins : In(sdram_pins)
    """

    pins: In(sdram_pins())

    def __init__(self, ports):
        self.ports = ports
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        for name, member in NAMES.items():
            m.submodules[name] = buffer = io.FFBuffer("o", getattr(self.ports, name))
            value = getattr(self.pins, member)
            m.d.comb += buffer.o.eq(~value if name in INVERTED else value)
        m.submodules.dq = dq = io.FFBuffer("io", self.ports.dq)
        m.d.comb += [
            dq.o.eq(self.pins.dq_o),
            dq.oe.eq(self.pins.dq_oe),
            self.pins.dq_i.eq(dq.i),
        ]
        return m
