"""The multiplier blocks of chips: which there is, and how it is asked for a product."""

from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal

__all__ = ["ICE40_DEVICES", "find_block"]

ICE40_DEVICES = ("iCE40UP", "iCE5LP")  # those that have multipliers


def find_block(platform, a, b):
    """What makes the block for the signals ``a`` and ``b`` on ``platform``, or None.

    Returns
    -------
    function(a, b, product, en)
        A submodule that drives the lower bits of the signal ``product`` of 48 bits. With ``en`` the
        block's registers for its operands and its product are used, in the domain ``sync``; None
        leaves them out.
    """
    family = str(getattr(platform, "family", ""))
    device = str(getattr(platform, "device", ""))
    width = max(len(x) + (not x.shape().signed) for x in (a, b))  # as signed numbers
    if family == "ecp5" and width <= 18:
        return _mult18x18d
    if device.startswith(ICE40_DEVICES) and max(len(a), len(b)) <= 16:
        return _sb_mac16
    if family.startswith("GW") and width <= 18:
        return _mult18x18
    if family == "series7" and width <= 18:
        return _dsp48e1
    if family == "ultrascale" and width <= 18:
        return _dsp48e2
    return None


def _extended(x, width):
    sign = x[-1] if x.shape().signed else Const(0, 1)
    return Cat(x, sign.replicate(width - len(x)))


def _zeros(*names):
    return {f"i_{name}": Const(0, 1) for name in names}


def _mult18x18d(a, b, product, en):
    """Of a Lattice ECP5: both operands signed, in the upper bits: constant ones need no wires."""
    ports, below = {f"i_C{n}": Const(0, 1) for n in range(18)}, 0
    for letter, x in (("A", a), ("B", b)):
        x = x if x.shape().signed else Cat(x, Const(0, 1))
        operand = Cat(Const(0, 18 - len(x)), x)
        below += 18 - len(x)
        ports |= {f"i_{letter}{n}": operand[n] for n in range(18)}
    ports |= {f"o_P{n}": product[n - below] for n in range(below, 36)}
    if en is not None:
        stages = ("INPUTA", "INPUTB", "OUTPUT")
        ports |= {f"p_REG_{stage}_CLK": "CLK0" for stage in stages}
        ports |= {"i_CLK0": ClockSignal(), "i_CE0": en, "i_RST0": Const(0, 1)}
    return Instance(
        "MULT18X18D",
        **ports,
        i_SIGNEDA=Const(1, 1),
        i_SIGNEDB=Const(1, 1),
        **_zeros("SOURCEA", "SOURCEB"),
    )


def _sb_mac16(a, b, product, en):
    """Of an iCE40 UltraPlus: 16 x 16 bits of either sign, in the upper bits."""
    registers = _zeros("CLK", "CE")
    if en is not None:
        registers = {"i_CLK": ClockSignal(), "i_CE": en}
        registers |= {f"p_{n}": Const(1, 1) for n in ("A_REG", "B_REG", "PIPELINE_16x16_MULT_REG2")}
    result = Signal(32)
    m = Module()
    m.submodules.block = Instance(
        "SB_MAC16",
        p_TOPOUTPUT_SELECT=Const(3, 2),
        p_BOTOUTPUT_SELECT=Const(3, 2),
        p_A_SIGNED=Const(a.shape().signed, 1),
        p_B_SIGNED=Const(b.shape().signed, 1),
        **registers,
        i_A=Cat(Const(0, 16 - len(a)), a),
        i_B=Cat(Const(0, 16 - len(b)), b),
        i_C=Const(0, 16),
        i_D=Const(0, 16),
        **_zeros("AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT"),
        **_zeros("OLOADTOP", "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT"),
        **_zeros("CI", "ACCUMCI", "SIGNEXTIN"),
        o_O=result,
    )
    m.d.comb += product.eq(result[32 - len(a) - len(b) :])
    return m


def _mult18x18(a, b, product, en):
    """Of a Gowin: both operands signed."""
    registers = _zeros("CLK", "CE")
    if en is not None:
        registers = {"i_CLK": ClockSignal(), "i_CE": en}
        registers |= {f"p_{n}": Const(1, 1) for n in ("AREG", "BREG", "OUT_REG")}
    return Instance(
        "MULT18X18",
        **registers,
        i_A=_extended(a, 18),
        i_B=_extended(b, 18),
        i_SIA=Const(0, 18),
        i_SIB=Const(0, 18),
        i_ASIGN=Const(1, 1),
        i_BSIGN=Const(1, 1),
        **_zeros("ASEL", "BSEL", "RESET"),
        o_DOUT=product[:36],
    )


def _dsp48e1(a, b, product, en):
    """Of a 7-series chip of AMD: signed operands of 25 and 18 bits, and an adder that adds none."""
    count = 0 if en is None else 1
    stages = {f"p_{name}": count for name in ("AREG", "ACASCREG", "BREG", "BCASCREG", "PREG")}
    others = ("ADREG", "ALUMODEREG", "CARRYINREG", "CARRYINSELREG", "CREG", "DREG", "INMODEREG")
    stages |= {f"p_{name}": 0 for name in (*others, "MREG", "OPMODEREG")}
    clock = {"i_CLK": Const(0, 1)} if en is None else {"i_CLK": ClockSignal()}
    moves = {f"i_{name}": Const(0, 1) if en is None else en for name in ("CEA2", "CEB2", "CEP")}
    enables = ("CEA1", "CEAD", "CEALUMODE", "CEB1", "CEC", "CECARRYIN", "CECTRL", "CED")
    enables += ("CEINMODE", "CEM", "CARRYIN", "CARRYCASCIN", "MULTSIGNIN")
    resets = ("A", "ALLCARRYIN", "ALUMODE", "B", "C", "CTRL", "D", "INMODE", "M", "P")
    widths = {"ACIN": 30, "BCIN": 18, "C": 48, "D": 25, "PCIN": 48, "ALUMODE": 4, "INMODE": 5}
    quiet = {f"i_{name}": Const(0, width) for name, width in widths.items()}
    return Instance(
        "DSP48E1",
        p_USE_MULT="MULTIPLY",
        **stages,
        **clock,
        **moves,
        **quiet,
        **_zeros(*enables, *(f"RST{name}" for name in resets)),
        i_CARRYINSEL=Const(0, 3),
        i_OPMODE=Const(0b0000101, 7),
        i_A=_extended(a, 30),
        i_B=_extended(b, 18),
        o_P=product,
    )


def _dsp48e2(a, b, product, en):
    """Of an UltraScale chip of AMD: a plain product, with the wish that synthesis uses a block.

    Yosys carries no model of a DSP48E2 with which an instance could be proved.
    """
    m = Module()
    p = Signal((a * b).shape(), attrs={"use_dsp": "yes"}, reset_less=True)
    if en is None:
        m.d.comb += p.eq(a * b)
    else:
        x, y = (Signal(operand.shape(), reset_less=True) for operand in (a, b))
        with m.If(en):
            m.d.sync += [x.eq(a), y.eq(b), p.eq(x * y)]
    m.d.comb += product.eq(p)
    return m
