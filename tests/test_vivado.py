"""generators.vivado: every AXI pin has its interface, the script is Tcl; both by their form."""

import re

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.generators.files.vivado import annotated, interfaces, package_script
from celosia.generators.verilog import to_verilog
from celosia.rtl.host.axi_registers import register_pins
from celosia.rtl.kv_cache.axi_cache import cache_pins
from celosia.rtl.machine.shape import AxiMemory
from celosia.rtl.memory.axi_tape import axi_pins

# AMBA's signals, channel by channel: those that AXI4-Lite and AXI4 ports here have.
LITE = {
    *("AWADDR", "AWPROT", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WVALID", "WREADY"),
    *("BRESP", "BVALID", "BREADY", "ARADDR", "ARPROT", "ARVALID", "ARREADY"),
    *("RDATA", "RRESP", "RVALID", "RREADY"),
}
READ = {
    *("ARID", "ARADDR", "ARLEN", "ARSIZE", "ARBURST", "ARCACHE", "ARPROT", "ARVALID", "ARREADY"),
    *("RID", "RDATA", "RRESP", "RLAST", "RVALID", "RREADY"),
}
WRITE = {
    *("AWID", "AWADDR", "AWLEN", "AWSIZE", "AWBURST", "AWCACHE", "AWPROT", "AWVALID", "AWREADY"),
    *("WDATA", "WSTRB", "WLAST", "WVALID", "WREADY", "BID", "BRESP", "BVALID", "BREADY"),
}


class Pins(wiring.Component):
    """Nothing but pins, and a register that keeps the clock."""

    def __init__(self, **more):
        byte = stream.Signature(8)
        super().__init__({"rx": In(byte), "tx": Out(byte), "activity": Out(4), **more})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.activity.eq(self.activity + self.rx.valid)
        return m


@pytest.fixture(scope="module")
def text():
    pins = axi_pins(AxiMemory(64, 2)) | cache_pins(128) | register_pins()
    return annotated(to_verilog(Pins(**pins, interrupt=Out(1))))


def attributes(text):
    """The attributes of each port of ``top``."""
    found = {}
    pattern = r"((?:  \(\* .* \*\)\n)*)  (?:input|output) (?:\[\d+:0\] )?(\w+);"
    for lines, port in re.findall(pattern, text):
        pairs = re.findall(r'\(\* (\w+) = "([^"]*)" \*\)', lines)
        assert len(pairs) == lines.count("\n")
        found[port] = dict(pairs)
    return found


def test_every_pin_has_its_interface(text):
    found = attributes(text)
    signals = {}
    for port, given in found.items():
        if "X_INTERFACE_INFO" in given:
            kind, name, logical = given["X_INTERFACE_INFO"].split(" ")
            assert re.fullmatch(r"xilinx\.com:(interface|signal):\w+:1\.0", kind)
            if kind == "xilinx.com:interface:aximm:1.0":
                assert port == f"{name}_{logical.lower()}"
            signals.setdefault(name, set()).add(logical)
    assert signals == {
        "m_axi0": READ,
        "m_axi1": READ,
        "m_axi_kv": READ | WRITE,
        "s_axi": LITE,
        "rx": {"TDATA", "TVALID", "TREADY"},
        "tx": {"TDATA", "TVALID", "TREADY"},
        "clk": {"CLK"},
        "rst": {"RST"},
        "interrupt": {"INTERRUPT"},
    }
    assert found["activity"] == {}


def test_every_interface_has_its_parameters(text):
    parameters = {}
    for given in attributes(text).values():
        if said := given.get("X_INTERFACE_PARAMETER"):
            pairs = dict(part.split(" ") for part in said.split(", "))
            parameters[pairs.pop("XIL_INTERFACENAME")] = pairs
    axi4 = {"PROTOCOL": "AXI4", "ADDR_WIDTH": "40", "SUPPORTS_NARROW_BURST": "0", "HAS_BURST": "1"}
    tape = axi4 | {"DATA_WIDTH": "64", "READ_WRITE_MODE": "READ_ONLY"}
    assert parameters["m_axi0"] == parameters["m_axi1"] == tape
    assert parameters["m_axi_kv"] == axi4 | {"DATA_WIDTH": "128", "READ_WRITE_MODE": "READ_WRITE"}
    assert parameters["s_axi"] == {"PROTOCOL": "AXI4LITE", "DATA_WIDTH": "32", "ADDR_WIDTH": "12"}
    busses = parameters["clk"].pop("ASSOCIATED_BUSIF").split(":")
    assert sorted(busses) == ["m_axi0", "m_axi1", "m_axi_kv", "rx", "s_axi", "tx"]
    assert parameters["clk"] == {"ASSOCIATED_RESET": "rst"}
    assert parameters["rst"] == {"POLARITY": "ACTIVE_HIGH"}
    assert parameters["interrupt"] == {"SENSITIVITY": "LEVEL_HIGH"}


def test_only_attributes_are_added(text):
    plain = re.sub(r"^  \(\* X_INTERFACE.*\n", "", text, flags=re.MULTILINE)
    assert "X_INTERFACE" not in plain
    assert annotated(plain) == text


def test_machines_without_axi_stay_as_they_are():
    plain = to_verilog(Pins())
    assert annotated(plain) == plain
    assert interfaces(["clk", "logits__valid", "m_axi_else"]) == {}
    with pytest.raises(ValueError, match="the Verilog must have a module called top"):
        annotated("module chip(); endmodule\n")


def test_script_is_tcl():
    """A Tcl interpreter runs it, with Vivado's commands replaced by notes of their calls."""
    tkinter = pytest.importorskip("tkinter", reason="needs Tcl, which this Python lacks")
    tcl = tkinter.Tcl()
    calls = []
    tcl.createcommand("note", lambda *words: calls.append(words) or "an_object")
    tcl.eval("namespace eval ipx {}")
    script = package_script("Smol-LM 2", "0.1.0.dev3", 'a [model] with "quotes" and $1')
    commands = set(re.findall(r"(?:^|\[)\s*(ipx::\w+|[a-z]+_\w+)", script, re.MULTILINE))
    for command in commands:
        tcl.eval(f"proc {command} args {{ note {command} {{*}}$args }}")
    tcl.eval("proc ipx::get_memory_maps args { note maps; return {} }")
    tcl.eval(script)
    said = {words[:3]: words for words in calls}
    assert ("set_property", "name", "celosia_smol_lm_2") in said
    assert ("set_property", "version", "0.1") in said
    assert ("set_property", "range", "4096") in said
    description = said["set_property", "description", "a  model  with  quotes  and  1"]
    assert description[3] == "an_object"
    assert calls[-1][0] == "ipx::save_core"
