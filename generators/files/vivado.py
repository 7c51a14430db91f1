"""What Vivado wants to know of a machine with AXI ports: interfaces of its pins, an IP's script."""

import re

from celosia.sim.native_ports import top_ports

__all__ = ["annotated", "interfaces", "package_script"]

BUS = "xilinx.com:interface:aximm:1.0"
STREAM = "xilinx.com:interface:axis:1.0"
STREAM_PINS = {"payload": "TDATA", "valid": "TVALID", "ready": "TREADY"}
AXI_PIN = re.compile(r"(m_axi(?:\d+|_kv)|s_axi)_((?:aw|w|b|ar|r)[a-z]+)$")


def interfaces(ports):
    """The bus interface of each pin that has one: ``{pin: (type, interface, logical name)}``.

    Pins are named as AXI4 has it, ``m_axi0_araddr``, ``m_axi_kv_awaddr``, ``s_axi_wdata``; of the
    byte streams ``rx`` and ``tx`` they are an AXI4-Stream's.

    Parameters
    ----------
    ports : iterable of str
    """
    found = {}
    for port in ports:
        stream, _, pin = port.partition("__")
        if match := AXI_PIN.match(port):
            found[port] = (BUS, match[1], match[2].upper())
        elif stream in ("rx", "tx") and pin in STREAM_PINS:
            found[port] = (STREAM, stream, STREAM_PINS[pin])
    return found


def _parameters(name, widths):
    """What the pins do not say of the interface ``name``."""
    if name in ("rx", "tx"):
        return {"TDATA_NUM_BYTES": 1}
    if name == "s_axi":
        return {"PROTOCOL": "AXI4LITE", "DATA_WIDTH": 32, "ADDR_WIDTH": widths["s_axi_araddr"]}
    writes = f"{name}_awaddr" in widths
    return {
        "PROTOCOL": "AXI4",
        "DATA_WIDTH": widths[f"{name}_rdata"],
        "ADDR_WIDTH": widths[f"{name}_araddr"],
        "READ_WRITE_MODE": "READ_WRITE" if writes else "READ_ONLY",
        "SUPPORTS_NARROW_BURST": 0,
        "HAS_BURST": 1,
    }


def annotated(verilog):
    """The text with ``X_INTERFACE_INFO`` and ``X_INTERFACE_PARAMETER`` at the pins of ``top``.

    A text without AXI pins stays as it is. Vivado then knows the interfaces in a block design, also
    of a plain module reference.

    Raises
    ------
    ValueError
        If there is no module called top.
    """
    widths = {name: bits for name, (_, bits) in top_ports(verilog).items()}
    pins = interfaces(widths)
    if all(kind == STREAM for kind, _, _ in pins.values()):
        return verilog
    names = list(dict.fromkeys(name for _, name, _ in pins.values()))
    info = {pin: " ".join((kind, name, logical)) for pin, (kind, name, logical) in pins.items()}
    more = {}
    for name in names:
        pin = next(pin for pin, (_, own, _) in pins.items() if own == name)
        more[pin] = {"XIL_INTERFACENAME": name, **_parameters(name, widths)}
    info |= {"clk": "xilinx.com:signal:clock:1.0 clk CLK"}
    more["clk"] = {
        "XIL_INTERFACENAME": "clk", "ASSOCIATED_BUSIF": ":".join(names), "ASSOCIATED_RESET": "rst"
    }  # fmt: skip
    info |= {"rst": "xilinx.com:signal:reset:1.0 rst RST"}
    more["rst"] = {"XIL_INTERFACENAME": "rst", "POLARITY": "ACTIVE_HIGH"}
    if "interrupt" in widths:
        info |= {"interrupt": "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT"}
        more["interrupt"] = {"XIL_INTERFACENAME": "interrupt", "SENSITIVITY": "LEVEL_HIGH"}

    def mark(match):
        pin = match[1]
        if pin not in info:
            return match[0]
        lines = [f'  (* X_INTERFACE_INFO = "{info[pin]}" *)']
        if pin in more:
            said = ", ".join(f"{key} {value}" for key, value in more[pin].items())
            lines.append(f'  (* X_INTERFACE_PARAMETER = "{said}" *)')
        return "\n".join((*lines, match[0]))

    start = re.search(r"^module top\(", verilog, re.MULTILINE).start()
    end = verilog.index("\nendmodule", start)
    declared = r"^  (?:input|output) (?:\[\d+:0\] )?(\w+);$"
    body = re.sub(declared, mark, verilog[start:end], flags=re.MULTILINE)
    return verilog[:start] + body + verilog[end:]


def package_script(name, version, description):
    """A Tcl script that packages ``top.v`` beside it as an IP for Vivado's catalogue.

    ``vivado -mode batch -source package_ip.tcl`` writes the folder ``ip``. The interfaces are those
    of :func:`annotated`; the register port gets an address block of 4 KiB.

    Parameters
    ----------
    name, description : str
        Anything; characters that a name cannot have become underscores.
    version : str
        ``major.minor`` and more, which is left away.
    """
    name = re.sub(r"\W", "_", f"celosia_{name}".lower(), flags=re.ASCII)
    version = ".".join(version.split(".")[:2])
    text = re.sub(r'[][{}\\$"]', " ", description)
    return f"""\
# Packages top.v as an IP for Vivado: vivado -mode batch -source package_ip.tcl
set here [file dirname [file normalize [info script]]]
create_project -in_memory
read_verilog [file join $here top.v]
set_property top top [current_fileset]
ipx::package_project -root_dir [file join $here ip] -vendor celosia -library accelerators \\
    -taxonomy /Celosia -import_files -force
set core [ipx::current_core]
set_property name {name} $core
set_property version {version} $core
set_property display_name "{name}" $core
set_property description "{text}" $core
set registers [ipx::get_bus_interfaces s_axi -of_objects $core]
if {{[llength $registers] && ![llength [ipx::get_memory_maps s_axi -of_objects $core]]}} {{
    set map [ipx::add_memory_map s_axi $core]
    set_property slave_memory_map_ref s_axi $registers
    set block [ipx::add_address_block registers $map]
    set_property range 4096 $block
    set_property usage register $block
}}
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
"""
