"""On-chip memory of 16,384 words: a chip's own single-port blocks, or a portable memory."""

from amaranth import ClockSignal, Const, Instance, Module, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.multiplier_blocks import ICE40_DEVICES

__all__ = ["SPRAM_DEPTH", "Spram"]

SPRAM_DEPTH = 1 << 14
BLOCK = 16  # bits of a block


class Spram(wiring.Component):
    """One port: ``read`` is the word at ``addr`` a cycle later, unless one is written.

    On an iCE40 UltraPlus blocks SB_SPRAM256KA, whose contents are undefined at first.

    Parameters
    ----------
    width : int, a multiple of 16
    init : list of int
        Contents of the portable memory; without any the chip's blocks are used where it has them.

    Members
    -------
    addr : In(unsigned(14))
    read : Out(unsigned(width))
        Undefined behind a cycle of writing.
    write : In(unsigned(width))
    en : In(width / 16 bits)
        Which parts are written.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, width, init=()):
        if width not in range(BLOCK, 257, BLOCK):
            raise ValueError(f"width must be a multiple of 16 from 16 to 256, not {width!r}")
        if len(init) > SPRAM_DEPTH:
            raise ValueError(f"init must have up to {SPRAM_DEPTH} words, not {len(init)}")
        self.width = width
        self.init = init
        super().__init__(
            {
                "addr": In(14),
                "read": Out(width),
                "write": In(width),
                "en": In(width // BLOCK),
            }
        )

    def elaborate(self, platform):
        m = Module()
        has_blocks = str(getattr(platform, "device", "")).startswith(ICE40_DEVICES)
        if has_blocks and not self.init:
            for n in range(self.width // BLOCK):
                part = slice(BLOCK * n, BLOCK * (n + 1))
                m.submodules[f"block_{n}"] = Instance(
                    "SB_SPRAM256KA",
                    i_CLOCK=ClockSignal(),
                    i_ADDRESS=self.addr,
                    i_DATAIN=self.write[part],
                    i_MASKWREN=Const(15, 4),
                    i_WREN=self.en[n],
                    i_CHIPSELECT=Const(1, 1),
                    i_STANDBY=Const(0, 1),
                    i_SLEEP=Const(0, 1),
                    i_POWEROFF=Const(1, 1),
                    o_DATAOUT=self.read[part],
                )
            return m
        m.submodules.memory = store = memory.Memory(
            shape=unsigned(self.width), depth=SPRAM_DEPTH, init=self.init
        )
        write, read = store.write_port(granularity=BLOCK), store.read_port()
        m.d.comb += [
            write.addr.eq(self.addr),
            write.data.eq(self.write),
            write.en.eq(self.en),
            read.addr.eq(self.addr),
            self.read.eq(read.data),
        ]
        return m
