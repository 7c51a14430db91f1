"""LiteX: the machine in top.v as a module, `CelosiaCore`, and an example SoC around it.

    python celosia_litex.py --elaborate             # the SoC for LiteX' simulator, as Verilog
    python celosia_litex.py                         # the same, compiled and run by LiteX
    python celosia_litex.py --target digilent_arty  # for a board of litex-boards

It was written for LiteX 2024.12. `celosia generate` wrote it beside top.v, and knows its ports.
"""

import argparse
import importlib
import importlib.util
import re
import shutil
import sys
from pathlib import Path

from litex.build.generic_platform import Pins, Subsignal
from litex.build.io import CRG
from litex.build.sim import SimPlatform
from litex.build.sim.config import SimConfig
from litex.gen import LiteXModule
from litex.soc.cores import uart
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc import SoCRegion
from litex.soc.integration.soc_core import SoCCore
from litex.soc.interconnect import axi, stream, wishbone
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import ClockSignal, Instance, ResetSignal, Signal

__all__ = ["CelosiaCore", "SimSoC", "board_soc", "contents", "origins"]

HERE = Path(__file__).resolve().parent
BASE = 0x4000_0000  # of main memory in most SoCs of LiteX
REGISTERS = 0x9000_0000  # uncached in most of them
PAGE = 4096  # bytes that a burst never leaves
CLOCK = int(1e6)  # of the simulated SoC
AXI = re.compile(r"(m_axi\d+|m_axi_kv|s_axi)_(aw|w|b|ar|r)([a-z]+)")

#: The ports of top.v: direction and bits of each.
PORTS = {}

#: Bytes of memory behind each AXI master, from address 0 of the port on.
MEMORIES = {}


def origins(base=BASE):
    """Where the memory of each AXI master begins: one behind the other from `base` on."""
    found = {}
    for name, size in MEMORIES.items():
        found[name] = base
        base += -(-size // PAGE) * PAGE
    return found


def contents():
    """What main memory holds from its base on: axi0.bin and so on at their :func:`origins`."""
    memory = bytearray()
    for name, origin in origins(0).items():
        image = HERE / f"{name.removeprefix('m_')}.bin"
        memory += bytes(origin - len(memory)) + (image.read_bytes() if image.is_file() else b"")
    return bytes(memory) + bytes(-len(memory) % 64)


class CelosiaCore(LiteXModule):
    """The machine of top.v, in the clock domain sys.

    Parameters
    ----------
    platform : GenericPlatform
    base : int
        Address from which on the memories of the AXI masters lie, :func:`origins`.

    Attributes
    ----------
    registers : AXILiteInterface or None
        The register port, with ``control=axi_lite``. `interrupt` comes with it.
    masters : dict of AXIInterface
        ``m_axi0`` and so on, with ``memory=axi``; ``m_axi_kv`` with ``kv_memory=axi``.
    sink, source : stream.Endpoint
        The host link's bytes, to and from the machine.
    pins : dict of Signal
        All other ports: the taps (``activity``, ``logits__valid``), the pins of an SDRAM or a
        flash (``sdram__cs_n``), which are to be connected to pads.
    """

    def __init__(self, platform, base=BASE):
        self.origins = origins(base)
        self.sink = stream.Endpoint([("data", 8)])
        self.source = stream.Endpoint([("data", 8)])
        self.registers = axi.AXILiteInterface() if "s_axi_rdata" in PORTS else None
        self.masters = {
            name: axi.AXIInterface(data_width=PORTS[f"{name}_rdata"][1], address_width=32)
            for name in MEMORIES
        }
        self.pins = {}
        wired = {"i_clk": ClockSignal("sys"), "i_rst": ResetSignal("sys")}
        for name, (way, bits) in PORTS.items():
            if name not in ("clk", "rst"):
                wired[f"{way[0]}_{name}"] = self._port(name, way, bits)
        self.interrupt = self.pins.pop("interrupt", None)
        self.specials += Instance("top", **wired)
        platform.add_source(str(HERE / "top.v"))

    def _port(self, name, way, bits):
        """The signal at a port, of the port's width, joined to LiteX' signal of it."""
        signal = Signal(bits, name=f"celosia_{name}")
        channel, _, part = name.partition("__")
        if match := AXI.fullmatch(name):
            bus = self.masters.get(match[1], self.registers)
            field = getattr(getattr(bus, match[2]), match[3])
        elif channel in ("rx", "tx"):
            endpoint = self.sink if channel == "rx" else self.source
            field = getattr(endpoint, "data" if part == "payload" else part)
        else:
            self.pins[name] = signal
            return signal
        if way == "input":
            self.comb += signal.eq(field)
        elif match and match[3] == "addr":
            self.comb += field.eq(signal + self.origins[match[1]])
        else:
            self.comb += field.eq(signal)
        return signal

    def attach(self, soc, name="celosia", registers=REGISTERS):
        """Make it the module `name` of a SoC: registers on its bus, masters to its main memory.

        The register port's 4 KiB lie at the address `registers`. A master as wide as LiteDRAM's
        controller (128 bits for DDR3 of 16) has a port of it, others are masters of the SoC's bus,
        beat by beat. The SoC gets the constants ``CELOSIA_M_AXI0_BASE`` and so on.

        Raises
        ------
        ValueError
            If main memory does not hold what the masters need.
        """
        soc.add_module(name, self)
        if self.registers is not None:
            region = SoCRegion(origin=registers, size=0x1000, cached=False)
            soc.bus.add_slave(name, self.registers, region)
        if self.registers is not None and soc.irq.enabled:
            self.ev = EventManager()
            self.ev.host = EventSourceLevel()
            self.ev.finalize()
            self.comb += self.ev.host.trigger.eq(self.interrupt)
            soc.irq.add(name, use_loc_if_exists=True)
        for port, master in self.masters.items():
            memory, first = soc.bus.regions.get("main_ram"), self.origins[port]
            end = first + MEMORIES[port]
            if memory is None or first < memory.origin or end > memory.origin + memory.size:
                raise ValueError(f"{port} needs main_ram at {first:#x} to {end - 1:#x}: {memory}")
            bridge = self._bridge(soc, f"{name}_{port}", master, memory.origin)
            soc.add_module(f"{name}_{port}", bridge)
            soc.add_constant(f"{name}_{port}_base", first)

    def _bridge(self, soc, name, master, origin):
        """From a master to main memory. LiteX' converters of a burst's width are not for us: they
        divide lengths that are no multiples, or multiply them beyond 8 bits."""
        if hasattr(soc, "sdram") and soc.sdram.crossbar.controller.data_width == master.data_width:
            from litedram.frontend.axi import LiteDRAMAXI2Native

            port = soc.sdram.crossbar.get_port()
            return LiteDRAMAXI2Native(master, port, 16, 64, base_address=origin)
        bus = wishbone.Interface(data_width=master.data_width, address_width=32, addressing="word")
        soc.bus.add_master(name, bus)
        return axi.AXI2Wishbone(master, bus)

    def serve(self, soc, phy):
        """Connect a host: `phy` has its bytes as `source` and `sink`.

        It gets the SoC's bus (UARTBone) where the machine has registers, else the host link.
        """
        if self.registers is None:
            self.comb += [phy.source.connect(self.sink), self.source.connect(phy.sink)]
            return
        soc.add_module("uartbone", uart.UARTBone(phy, soc.sys_clk_freq))
        soc.bus.add_master("uartbone", soc.uartbone.wishbone)


class SimSoC(SoCCore):
    """A SoC without processor for LiteX' simulator: bus, main memory, machine, host on TCP.

    Main memory holds the images from the start. It is LiteDRAM's model of DDR3, or RAM on chip
    with `ram`.
    """

    def __init__(self, ram=False):
        bytes_ = ("valid", 1), ("ready", 1), ("data", 8)
        pads = [Subsignal(f"{end}_{n}", Pins(w)) for end in ("source", "sink") for n, w in bytes_]
        platform = SimPlatform("SIM", [("sys_clk", 0, Pins(1)), ("serial", 0, *pads)])
        self.crg = CRG(platform.request("sys_clk"))
        image, more = contents(), {}
        words = [int.from_bytes(image[n : n + 4], "little") for n in range(0, len(image), 4)]
        needed = max(last + MEMORIES[name] for name, last in origins(0).items()) if MEMORIES else 0
        if needed and ram:
            size = 1 << (needed - 1).bit_length()
            more = {"integrated_main_ram_size": size, "integrated_main_ram_init": words}
        super().__init__(platform, CLOCK, cpu_type=None, with_uart=False, with_timer=False, **more)
        if needed and not ram:
            self._add_dram(needed, words)
        core = CelosiaCore(platform, self.mem_map["main_ram"])
        core.attach(self)
        self.serial = uart.RS232PHYModel(platform.request("serial"))
        core.serve(self, self.serial)

    def _add_dram(self, needed, words):
        """DDR3 chips of 16 bits and 128 MiB, as many as are needed."""
        from litedram.modules import MT41K64M16
        from litedram.phy.model import SDRAMPHYModel

        module, chips = MT41K64M16(int(100e6), "1:4"), 1
        while chips << 27 < needed:
            chips *= 2
        self.dram = SDRAMPHYModel(module, data_width=16 * chips, clk_freq=int(100e6), init=words)
        self.add_sdram("sdram", phy=self.dram, module=module, l2_cache_size=0)


def board_soc(name):
    """The SoC of a board of litex-boards with the machine in it, its host on the serial port.

    External memory is made ready by the SoC's processor, which runs LiteX' BIOS.
    """
    registers = "s_axi_rdata" in PORTS
    if MEMORIES and not registers:
        sys.exit("a board's host fills the main memory by the bus: generate with control=axi_lite")
    more = {"integrated_main_ram_size": 0x1000, "cpu_type": None}
    if MEMORIES:  # what the host writes must reach it: no cache between
        more = {"cpu_type": "vexriscv", "integrated_rom_size": 1 << 17, "uart_name": "crossover"}
        more["l2_size"] = 0
    target = importlib.import_module(f"litex_boards.targets.{name}")
    soc = target.BaseSoC(with_uart=bool(MEMORIES), **more)
    core = CelosiaCore(soc.platform, soc.mem_map["main_ram"])
    core.attach(soc)
    pads = soc.platform.request("serial")
    soc.add_module("host_phy", uart.UARTPHY(pads, soc.sys_clk_freq, 115200))
    core.serve(soc, soc.host_phy)
    return soc


def main():
    parser = argparse.ArgumentParser(description="An example SoC around the machine in top.v.")
    parser.add_argument("--elaborate", action="store_true", help="only write the SoC's Verilog")
    parser.add_argument("--target", help="a board of litex-boards; else LiteX' simulator")
    parser.add_argument("--ram", action="store_true", help="simulate RAM on chip, not DDR3")
    parser.add_argument("--output-dir", default="build", help="where files go (build)")
    parser.add_argument("--tcp-port", type=int, default=2430, help="the simulated host's (2430)")
    given = parser.parse_args()
    if wanted := sorted({n.partition("__")[0] for n in PORTS} & {"sdram", "flash"}):
        sys.exit(
            f"the example does not wire the chips at {' and '.join(wanted)}: connect "
            "CelosiaCore.pins to your board's pads, or generate with memory=axi"
        )
    if not given.ram and not given.target and not importlib.util.find_spec("litedram"):
        given.ram = True
        print("LiteDRAM is not installed: main memory is RAM on chip", file=sys.stderr)
    soc = board_soc(given.target) if given.target else SimSoC(given.ram)
    folder = Path(given.output_dir).resolve()
    software = soc.cpu_type is not None and not given.elaborate
    builder = Builder(
        soc, output_dir=str(folder), compile_software=software, csr_csv=str(folder / "csr.csv")
    )
    Path(builder.gateware_dir).mkdir(parents=True, exist_ok=True)
    for file in HERE.glob("memory*.hex"):
        shutil.copy(file, builder.gateware_dir)
    more = {}
    if not given.target:
        config = SimConfig(default_clk="sys_clk", default_clk_freq=CLOCK)
        config.add_module("serial2tcp", ("serial", 0), args={"port": given.tcp_port})
        more = {"sim_config": config, "interactive": False}
    builder.build(run=not given.elaborate, **more)


if __name__ == "__main__":
    main()
