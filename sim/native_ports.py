"""The ports of a chip's Verilog, by which native.cpp and Python find what to serve and record."""

import re
from dataclasses import dataclass, replace

__all__ = ["Ports", "read_ports", "reset_registered", "top_ports"]

PORT = r"^  (input|output) (\[\d+:0\] )?(\w+);"
STREAMS = ("rx__payload", "rx__valid", "rx__ready", "tx__payload", "tx__valid", "tx__ready")


@dataclass(frozen=True)
class Ports:
    """What :class:`celosia.sim.native.NativeSimulation` needs to know of the module ``top``.

    Parameters
    ----------
    taps : dict
        Bits of each tap's payload.
    activity : int
        Bits of the output ``activity``; 0 if there is none.
    axi : dict
        Bits of a transfer of each AXI4 port.
    axi_writes : tuple of str
        Those of them that can write.
    has_sdram : bool
    """

    taps: dict
    activity: int
    axi: dict
    axi_writes: tuple
    has_sdram: bool

    def tapping(self, names):
        """With these taps alone; ValueError if there is none of that name."""
        names = list(names)
        for name in names:
            if name not in self.taps:
                raise ValueError(f"taps must be among {[*self.taps]}, not {name!r}")
        return replace(self, taps={name: self.taps[name] for name in names})

    def header(self):
        """The C++ text that tells native.cpp about the design."""

        lines = [f"#define CELOSIA_N_TAPS {len(self.taps)}", "#define CELOSIA_TAPS(TAP) \\"]
        for index, (name, width) in enumerate(self.taps.items()):
            tap = name.replace("__", "___05F") + "___05F"  # Verilator's name of it
            lines += [f"    TAP({index}, {tap}valid, {tap}payload, {-(-width // 8)}) \\"]
        lines += ["", "", f"#define CELOSIA_N_AXI {len(self.axi)}", "#define CELOSIA_AXI(AXI) \\"]
        items = {
            name: f"    AXI({n}, {name}_, {width // 8}) \\"
            for n, (name, width) in enumerate(self.axi.items())
        }
        lines += [*items.values(), "", "", "#define CELOSIA_AXI_WRITES(AXI) \\"]
        lines += [*(items[name] for name in self.axi_writes), "", ""]
        lines += [f"#define CELOSIA_N_AXI_WRITES {len(self.axi_writes)}"]
        lines += [f"#define CELOSIA_SDRAM {int(self.has_sdram)}"]
        if self.activity:
            lines += ["#define CELOSIA_ACTIVITY activity"]
            lines += [f"#define CELOSIA_ACTIVITY_BYTES {-(-self.activity // 8)}"]
        return "\n".join(lines) + "\n"


def read_ports(verilog):
    """The ports of the module ``top``; ValueError if one is missing."""
    outputs = _outputs(verilog)
    axi = _axi_ports(verilog)
    return Ports(
        taps=_taps(verilog, outputs),
        activity=outputs.get("activity", 0),
        axi=axi,
        axi_writes=tuple(name for name in axi if f"{name}_awaddr" in outputs),
        has_sdram="sdram__cs_n" in outputs,
    )


def top_ports(verilog):
    """The ports of the module ``top``, in order: ``{"rx__payload": ("input", 8), ...}``.

    Raises
    ------
    ValueError
        If there is no such module.
    """
    found = re.findall(PORT, _top(verilog), re.MULTILINE)
    return {name: (way, int(width[1:-4]) + 1 if width else 1) for way, width, name in found}


def reset_registered(verilog):
    """`verilog` with a module ``chip`` around ``top``, of the same ports, in front of whose reset
    is a register.

    The next values of all registers hang on the reset. What hangs on an input is computed whenever
    Verilator is asked for the outputs, thrice a cycle; behind the register it is computed once.
    """
    declared = re.findall(PORT, _top(verilog), re.MULTILINE)
    names = [name for _, _, name in declared]
    lines = [f"module chip({', '.join(names)});"]
    lines += [f"  {way} {width}{name};" for way, width, name in declared]
    lines += ["  reg held = 1;", "  always @(posedge clk) held <= rst;"]
    wires = (f".{name}({'held' if name == 'rst' else name})" for name in names)
    return "\n".join([verilog, *lines, f"  top top({', '.join(wires)});", "endmodule", ""])


def _top(verilog):
    """The text of the module ``top``."""
    start = re.search(r"^module top\(", verilog, re.MULTILINE)
    if start is None:
        raise ValueError("the Verilog must have a module called top")
    return verilog[start.start() : verilog.index("\nendmodule", start.start())]


def _outputs(verilog):
    """The outputs of the module ``top`` and their widths."""
    ports = top_ports(verilog)
    for name in ("clk", "rst", *STREAMS):
        if name not in ports:
            raise ValueError(f"the top module must have a port called {name}")
    return {name: bits for name, (way, bits) in ports.items() if way == "output"}


def _taps(verilog, outputs):
    """The widths of the taps among `outputs`."""
    names = [name.removesuffix("__valid") for name in outputs if name.endswith("__valid")]
    return {
        name: outputs[f"{name}__payload"]
        for name in sorted(names)
        if name != "tx" and f"{name}__payload" in outputs
    }


def _axi_ports(verilog):
    """The bits of a transfer of each AXI4 port of the module ``top``."""
    found = re.findall(r"^  input (?:\[(\d+):0\] )(m_axi\w*)_rdata;", verilog, re.MULTILINE)
    return {name: int(high) + 1 for high, name in sorted(found, key=lambda port: port[1])}
