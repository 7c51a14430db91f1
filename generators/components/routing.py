"""What clock a component reaches on a chip, placed and routed by nextpnr."""

import json

from amaranth import Module
from amaranth.hdl import Const, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from celosia.generators.components.synthesis import netlist, tool_key
from celosia.sim.cache import cached
from celosia.sim.toolchain import run_tool
from celosia.sim.tools import tool

__all__ = ["Registered", "route"]

WANTED = 150  # MHz that the placer is asked for


class Registered(wiring.Component):
    """``component`` between registers, so that a chip's clock covers its inputs and outputs.

    Its members are ports named after those of the component.
    """

    def __init__(self, component):
        self.component = component
        self._inner = {
            "__".join(map(str, path)): (member.flow, Value.cast(value))
            for path, member, value in component.signature.flatten(component)
            if not isinstance(value, Const)  # a stream's ready that is always 1
        }
        super().__init__({name: flow(len(value)) for name, (flow, value) in self._inner.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = self.component
        for name, (flow, value) in self._inner.items():
            port = getattr(self, name)
            m.d.sync += value.eq(port) if flow == In else port.eq(value)
        return m


def route(component, seed, device="85k", speed=6):
    """The clock in MHz that ``component`` reaches on an ECP5 after routing, alone on the chip.

    All its ports end in registers, which are part of the paths. Netlist and route are kept in the
    cache.

    Raises
    ------
    ToolError
        If there is no Yosys or nextpnr, or one fails.
    """
    source = netlist(Registered(component), "ecp5") / "top.json"
    options = [f"--{device}", "--package", "CABGA381", "--speed", str(speed), "--seed", str(seed)]
    options += ["--out-of-context", "--timing-allow-fail", "--freq", str(WANTED)]
    options += ["--report", "report.json"]
    key = tool_key("nextpnr-ecp5", *options, source.read_text())

    def build(folder):
        run_tool([*tool("nextpnr-ecp5"), "--json", str(source), *options], folder)

    report = json.loads((cached(key, build) / "report.json").read_text())
    return round(min(clock["achieved"] for clock in report["fmax"].values()), 1)
