"""The multipliers: exact products, and the chips' blocks equal to the portable ones."""

import itertools
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth import Module, Signal, signed, unsigned
from amaranth.back import rtlil
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.multiplier import (
    Multiplier,
    RegisteredMultiplier,
    multiply,
    multiply_registered,
)
from celosia.sim import bench
from celosia.sim.toolchain import run_tool
from celosia.sim.tools import tool

ECP5 = SimpleNamespace(family="ecp5")
ICE40 = SimpleNamespace(family="iCE40", device="iCE40UP5K")
GOWIN = SimpleNamespace(family="GW2AR-18C", device="GW2AR-18C")
SERIES7 = SimpleNamespace(family="series7", device="xc7a100ti")
ULTRASCALE = SimpleNamespace(family="ultrascale", device="xcku040")


def edges(shape):
    low = -(1 << (shape.width - 1)) if shape.signed else 0
    high = (1 << (shape.width - shape.signed)) - 1
    rng = np.random.default_rng(shape.width)
    return [low, high, 0, 1, low + 1, *rng.integers(low, high + 1, 6).tolist()]


SHAPES = [
    (signed(8), signed(8)),
    (unsigned(16), unsigned(17)),
    (signed(18), unsigned(17)),
    (unsigned(17), signed(16)),
    (signed(27), unsigned(16)),
    (signed(2), signed(18)),
]


class Bank(wiring.Component):
    """Each of SHAPES once: a and b of each in ``i``, the products in ``o``."""

    def __init__(self, registered=False):
        self.registered = registered
        self.units = [Multiplier(a, b) for a, b in SHAPES]
        i = {
            f"{n}{k}": s
            for k, shapes in enumerate(SHAPES)
            for n, s in zip("ab", shapes, strict=True)
        }
        o = {f"p{k}": unit.p.shape() for k, unit in enumerate(self.units)}
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(i))),
                "o": Out(stream.Signature(data.StructLayout(o))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        valid, advance = self.i.valid, Signal()
        m.d.comb += [advance.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(advance)]
        for _ in range(RegisteredMultiplier.latency if self.registered else 0):
            later = Signal(name="valid")
            with m.If(advance):
                m.d.sync += later.eq(valid)
            valid = later
        m.d.comb += self.o.valid.eq(valid)
        for k in range(len(SHAPES)):
            a, b = self.i.p[f"a{k}"], self.i.p[f"b{k}"]
            product = (
                multiply_registered(m, a, b, advance) if self.registered else multiply(m, a, b)
            )
            m.d.comb += self.o.p[f"p{k}"].eq(product)
        return m


@pytest.mark.parametrize("registered", [False, True])
def test_exact(registered):
    pairs = [list(itertools.product(edges(a), edges(b))) for a, b in SHAPES]
    words = list(zip(*pairs, strict=True))
    given = [
        {f"{n}{k}": x for k, ab in enumerate(w) for n, x in zip("ab", ab, strict=True)}
        for w in words
    ]
    stall = 0.5 if registered else 0.0
    result = bench.run(Bank(registered), {"i": given}, counts=len(given), stall=stall)
    expected = [{f"p{k}": a * b for k, (a, b) in enumerate(word)} for word in words]
    assert result.outputs["o"] == expected


def yosys(script, **files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / f"{name}.il").write_text(text)
        (Path(folder) / "script.ys").write_text(script)
        return run_tool([*tool("yosys"), "-Q", "-T", "-s", "script.ys"], folder)


def texts(a, b, kind=Multiplier, chip=ECP5):
    """RTLIL of the portable multiplier and of the one with a chip's block."""
    for name, platform in (("gold", None), ("gate", chip)):
        unit = kind(a, b)
        ports = {n: (getattr(unit, n), None) for n in unit.signature.members}
        yield name, rtlil.convert(unit, name=name, ports=ports, platform=platform)


# What the block does with signed operands: without registers, and with those that are used here.
MODEL = """
module MULT18X18D({ports});
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_OUTPUT_CLK = "NONE";
  input {inputs}; output {outputs};
  wire signed [17:0] a = {{{a}}}, b = {{{b}}};
  reg signed [17:0] ra = 0, rb = 0;
  reg signed [35:0] rp = 0;
  wire signed [17:0] xa = REG_INPUTA_CLK == "CLK0" ? ra : a;
  wire signed [17:0] xb = REG_INPUTB_CLK == "CLK0" ? rb : b;
  wire signed [35:0] product = SIGNEDA && SIGNEDB && !SOURCEA && !SOURCEB ? xa * xb : 36'sbx;
  always @(posedge CLK0) if (CE0 && !RST0) begin ra <= a; rb <= b; rp <= product; end
  assign {{{p}}} = REG_OUTPUT_CLK == "CLK0" ? rp : product;
endmodule
"""


# Likewise of Gowin's: Yosys knows what its registers are called, but not what it does.
GOWIN_MODEL = """
module MULT18X18(input signed [17:0] A, B, input [17:0] SIA, SIB, input ASIGN, BSIGN, ASEL, BSEL,
                 CE, CLK, RESET, output [35:0] DOUT);
  parameter AREG = 0, BREG = 0, OUT_REG = 0;
  reg signed [17:0] ra = 0, rb = 0;
  reg signed [35:0] rp = 0;
  wire signed [17:0] xa = AREG ? ra : A, xb = BREG ? rb : B;
  wire signed [35:0] product = ASIGN && BSIGN && !ASEL && !BSEL ? xa * xb : 36'sbx;
  always @(posedge CLK) if (CE && !RESET) begin ra <= A; rb <= B; rp <= product; end
  assign DOUT = OUT_REG ? rp : product;
endmodule
"""


def model():
    wires = {
        c: [f"{c}{n}" for n in reversed(range(w))]
        for c, w in zip("ABCP", (18, 18, 18, 36), strict=True)
    }
    inputs = [*wires["A"], *wires["B"], *wires["C"], "SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB"]
    inputs += ["CLK0", "CE0", "RST0"]
    joined = {name.lower(): ", ".join(bits) for name, bits in wires.items()}
    return MODEL.format(
        ports=", ".join([*inputs, *wires["P"]]),
        inputs=", ".join(inputs),
        outputs=joined.pop("p"),
        p=", ".join(wires["P"]),
        **joined,
    )


CHIPS = {  # platform, what shows the block, and where its model is: in ``model.il``, or with Yosys
    "ecp5": (ECP5, "cell \\MULT18X18D ", "model.il", model()),
    "ice40": (ICE40, "cell \\SB_MAC16 ", "+/ice40/cells_sim.v", ""),
    "gowin": (GOWIN, "cell \\MULT18X18 ", "model.il", GOWIN_MODEL),
    "series7": (SERIES7, "cell \\DSP48E1 ", "+/xilinx/cells_sim.v", ""),
    "ultrascale": (ULTRASCALE, 'attribute \\use_dsp "yes"', "model.il", ""),
}
SMALL_SHAPES = [(signed(4), signed(3)), (unsigned(3), signed(4)), (unsigned(3), unsigned(3))]


PROVED = ["ecp5", pytest.param("ice40", marks=pytest.mark.slow), "gowin"]  # minutes


def files_of(chip, kind, shapes):
    """For each of ``shapes`` the portable multiplier and that with the block, and its model."""
    platform, mark, path, text = CHIPS[chip]
    files = {"model": text}
    for n, (a, b) in enumerate(shapes):
        for name, text in texts(a, b, kind, platform):
            files[f"{name}{n}"] = text
        assert mark in files[f"gate{n}"]
    return files, path


def prove(chip, kind, options, passes=""):
    files, path = files_of(chip, kind, SMALL_SHAPES)
    script = [
        f"design -reset; read_rtlil gate{n}.il; read_verilog -defer {path}; hierarchy -top gate\n"
        f"read_rtlil gold{n}.il; proc; setattr -mod -unset top gold gate; flatten; {passes}\n"
        "opt_clean; miter -equiv -flatten gold gate miter\n"
        f"sat -verify {options} -prove trigger 0 miter\n"
        for n in range(len(SMALL_SHAPES))
    ]
    said = yosys("".join(script), **files)
    assert said.count("SAT proof finished - no model found: SUCCESS!") + said.count(
        "Induction step proven: SUCCESS!"
    ) == len(SMALL_SHAPES)


@pytest.mark.parametrize("chip", CHIPS)
def test_block_is_proved_equal(chip):
    prove(chip, Multiplier, "")


@pytest.mark.parametrize("chip", CHIPS)
def test_registers_are_proved_equal(chip):
    prove(chip, RegisteredMultiplier, "-tempinduct -set-init-zero", "async2sync; opt -full;")


@pytest.mark.parametrize("chip", CHIPS)
def test_block_at_the_edges(chip):
    widest = 16 if chip == "ice40" else 18
    shapes = [s for s in SHAPES if max(s[0].width, s[1].width) <= widest]
    files, path = files_of(chip, Multiplier, shapes)
    script, expected = [], []
    for n, (a, b) in enumerate(shapes):
        script.append(f"design -reset; read_rtlil gate{n}.il; read_verilog -defer {path}\n")
        script.append("hierarchy -top gate; proc; flatten\n")
        pairs = list(itertools.product(edges(a)[:6], edges(b)[:6]))
        mask = [(1 << s.width) - 1 for s in (a, b, Multiplier(a, b).p.shape())]
        script += [f"eval -set a {x & mask[0]} -set b {y & mask[1]} -show p\n" for x, y in pairs]
        expected += [x * y & mask[2] for x, y in pairs]
    said = yosys("".join(script), **files)
    found = [int(bits, 2) for bits in re.findall(r"Eval result: \\p = \d+'([01]+)", said)]
    assert found == expected


def test_what_does_not_fit_the_block_is_portable():
    assert "MULT18X18D" not in dict(texts(signed(19), signed(4)))["gate"]
    assert "MULT18X18D" not in dict(texts(unsigned(18), signed(4)))["gate"]
    assert "SB_MAC16" in dict(texts(unsigned(16), signed(4), chip=ICE40))["gate"]
    assert "SB_MAC16" not in dict(texts(unsigned(17), signed(4), chip=ICE40))["gate"]
    small = SimpleNamespace(family="iCE40", device="iCE40HX8K")  # has no multipliers
    assert "SB_MAC16" not in dict(texts(unsigned(4), signed(4), chip=small))["gate"]
    assert "MULT18X18" not in dict(texts(unsigned(18), signed(4), chip=GOWIN))["gate"]
    assert "DSP48E1" not in dict(texts(unsigned(18), signed(4), chip=SERIES7))["gate"]
    assert "use_dsp" not in dict(texts(unsigned(18), signed(4), chip=ULTRASCALE))["gate"]


@pytest.mark.parametrize(("name", "shapes"), [("a", (65, 3)), ("b", (3, 0))])
def test_width_out_of_range(name, shapes):
    with pytest.raises(ValueError, match=rf"{name} must have from 1 to 64 bits, not (65|0)"):
        Multiplier(*shapes)
