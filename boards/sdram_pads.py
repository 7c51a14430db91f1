"""The registers in the pins of an SDRAM."""

from amaranth import Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In
from celosia.rtl.sdram import sdram_pins

__all__ = ["SdramPads"]

NAMES = {"clk_en": "cke", "cs": "cs_n", "ras": "ras_n", "cas": "cas_n", "we": "we_n"}
NAMES |= {name: name for name in ("ba", "a", "dqm")}
INVERTED = ("cs", "ras", "cas", "we")  # the board's resource inverts them once more


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
