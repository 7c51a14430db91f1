"""Pins for simulation: what a board's SDRAM pads drive, as members of a component."""

from types import SimpleNamespace

from amaranth.lib import io
from amaranth.lib.wiring import In, Out

__all__ = ["MEMBERS", "connect_ports", "simulation_ports"]

WIDTHS = {"clk_en": 1, "cs": 1, "ras": 1, "cas": 1, "we": 1, "ba": 2, "a": 13, "dqm": 2}
INVERTED = {"cs", "ras", "cas", "we"}
CHIP = {"clk_en": "cke", "cs": "cs_n", "ras": "ras_n", "cas": "cas_n", "we": "we_n"}
MEMBERS = {CHIP.get(name, name): Out(width) for name, width in WIDTHS.items()}
MEMBERS |= {"dq_o": Out(16), "dq_oe": Out(1), "dq_i": In(16)}


def simulation_ports():
    """Ports like those of the board's resource ``sdram``."""
    ports = {
        name: io.SimulationPort("o", width, invert=name in INVERTED, name=name)
        for name, width in WIDTHS.items()
    }
    return SimpleNamespace(**ports, dq=io.SimulationPort("io", 16, name="dq"))


def connect_ports(m, ports, component):
    """Show the ports on a component's members called like the chip's pins."""
    for name in WIDTHS:
        m.d.comb += getattr(component, CHIP.get(name, name)).eq(getattr(ports, name).o)
    m.d.comb += [
        component.dq_o.eq(ports.dq.o),
        component.dq_oe.eq(ports.dq.oe.any()),
        ports.dq.i.eq(component.dq_i),
    ]
