"""Two small products in one multiplier block, where the chip has blocks that can do that."""

from amaranth import ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.multiplier_blocks import ICE40_DEVICES

__all__ = ["PairMultiplier"]


class PairMultiplier(wiring.Component):
    """``p[k] = a[k] * b[k]`` for two pairs of signed bytes, exact.

    On an iCE40 UltraPlus one SB_MAC16 with its own registers, elsewhere portable products between
    portable registers.

    Latency 2 cycles: operands in, products out. Throughput 1 pair per cycle.

    Members
    -------
    a, b : In(array of 2 signed(8))
    p : Out(array of 2 signed(16))
    """

    latency = 2

    a: In(data.ArrayLayout(signed(8), 2))
    b: In(data.ArrayLayout(signed(8), 2))
    p: Out(data.ArrayLayout(signed(16), 2))

    def elaborate(self, platform):
        m = Module()
        if str(getattr(platform, "device", "")).startswith(ICE40_DEVICES):
            m.submodules.dsp = self._sb_mac16()
            return m
        for k in range(2):
            shapes = {"a": signed(8), "b": signed(8), "p": signed(16)}
            a, b, p = (Signal(s, name=f"{n}{k}", reset_less=True) for n, s in shapes.items())
            m.d.sync += [a.eq(self.a[k]), b.eq(self.b[k]), p.eq(a * b)]
            m.d.comb += self.p[k].eq(p)
        return m

    def _sb_mac16(self):
        """Both halves of the block: 8 x 8 bits each, operands and products registered."""
        registers = ("A_REG", "B_REG", "TOP_8x8_MULT_REG", "BOT_8x8_MULT_REG")
        zeros = ("AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT")
        zeros += ("OLOADTOP", "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT")
        zeros += ("CI", "ACCUMCI", "SIGNEXTIN")
        return Instance(
            "SB_MAC16",
            **{f"p_{name}": Const(1, 1) for name in registers},
            p_TOPOUTPUT_SELECT=Const(2, 2),
            p_BOTOUTPUT_SELECT=Const(2, 2),
            p_A_SIGNED=Const(1, 1),
            p_B_SIGNED=Const(1, 1),
            p_MODE_8x8=Const(1, 1),
            i_CLK=ClockSignal(),
            i_CE=Const(1, 1),
            i_A=self.a.as_value(),
            i_B=self.b.as_value(),
            i_C=Const(0, 16),
            i_D=Const(0, 16),
            **{f"i_{name}": Const(0, 1) for name in zeros},
            o_O=self.p.as_value(),
        )
