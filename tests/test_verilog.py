import os
import re
import subprocess
import sys

import pytest
from amaranth.hdl import Elaboratable, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.generators.verilog import to_rtlil, to_verilog
from celosia.sim.toolchain import ToolError


class Mixed(wiring.Component):
    """Registers, an array of streams, and streams without back pressure."""

    i: In(stream.Signature(data.ArrayLayout(signed(8), 2), always_valid=True))
    o: Out(stream.Signature(signed(8), always_ready=True)).array(2)
    bias: In(4)

    def elaborate(self, platform):
        m = Module()
        for lane, o in enumerate(self.o):
            m.d.comb += o.valid.eq(1)
            m.d.sync += o.payload.eq(self.i.payload[lane] + self.bias)
        return m


class PartlyConstant(wiring.Component):
    """A variable of which a condition sets some bits, others are constant, others follow ``i``.

    And a shift by a number of no bits.
    """

    i: In(5)
    o: Out(16)
    shifted: Out(4)

    def elaborate(self, platform):
        m = Module()
        empty = Signal(0)
        m.d.comb += [
            self.o.eq(0xA005),
            self.o[4:8].eq(self.i),
            self.shifted.eq(self.i >> empty),
        ]
        with m.If(self.i[4]):
            m.d.comb += self.o[8:12].eq(self.i)
        return m


class NoComponent(Elaboratable):
    def elaborate(self, platform):
        return Module()


def test_ports_are_the_members_joined_by_underscores():
    text = to_verilog(Mixed(), name="mixed")
    header = text[text.index("module mixed(") :].split(")")[0]
    ports = {name.strip() for name in header.removeprefix("module mixed(").split(",")}
    assert ports == {
        "clk",
        "rst",
        "bias",
        "i__payload",
        "i__ready",
        "o__0__payload",
        "o__0__valid",
        "o__1__payload",
        "o__1__valid",
    }


def test_no_source_paths():
    assert __file__ not in to_verilog(Mixed())
    assert "test_verilog" not in to_rtlil(Mixed())


def test_constants_are_assigned_by_statements_that_run():
    """No ``always @*`` reads constants alone, and no wire has the range of no bits."""
    text = to_verilog(PartlyConstant())
    assert "always @* begin" in text  # the condition's bits
    assert not re.search(r"always @\*\n\s+\S+ (\[\S+\] )?= \d+'h", text)
    assert "[-1:0]" not in text


@pytest.mark.parametrize("function", ["to_verilog", "to_rtlil"])
def test_same_text_in_every_process(function):
    program = f"""
from celosia.generators import verilog
from test_verilog import Mixed
print(verilog.{function}(Mixed()))
"""
    here = os.path.dirname(__file__)
    texts = set()
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": here}
        command = [sys.executable, "-c", program]
        texts.add(subprocess.run(command, env=env, check=True, capture_output=True).stdout)
    assert len(texts) == 1


@pytest.mark.parametrize("thing", [NoComponent(), Signal(8), None])
def test_rejects_what_is_no_component(thing):
    if isinstance(thing, Elaboratable):
        thing._MustUse__silence = True
    with pytest.raises(TypeError, match=r"^component must be a wiring\.Component, not "):
        to_verilog(thing)


def test_a_yosys_that_fails(tmp_path, monkeypatch):
    """One on the PATH goes before Amaranth's own."""
    fake = tmp_path / "yosys"
    fake.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ToolError, match="Yosys failed to write the Verilog: out of order"):
        to_verilog(Mixed())
