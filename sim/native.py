"""The whole chip as a shared library: Verilator at full speed, without cocotb."""

import concurrent.futures
import ctypes
import re
import threading
import time
from pathlib import Path

import numpy as np
from celosia.sim import toolchain

__all__ = ["NativeSimulation"]

PORTS = ("rx__payload", "rx__valid", "rx__ready", "tx__payload", "tx__valid", "tx__ready")
TX, ACTIVITY = -1, -2
LARGEST_BATCH = 200_000
SDRAM_BYTES = 1 << 25
SPLIT = 20_000  # statements per C++ file
RECIPE = 1  # to be counted up when the way of building changes


class NativeSimulation:
    """A simulated chip with a byte stream in and a byte stream out.

    The top module has the ports ``clk`` and ``rst``; ``rx__payload`` (8 bits), ``rx__valid`` and
    ``rx__ready`` into the chip; ``tx__payload`` (8 bits), ``tx__valid`` and ``tx__ready`` out of
    it. Each output ``NAME__valid`` with an output ``NAME__payload`` beside it and no
    ``NAME__ready`` is a tap: in each cycle in which it is valid, its payload is recorded. An
    output ``activity`` of any width is recorded whenever it changes, if asked for.
    Ports ``m_axi0_araddr`` and so on, ``m_axi_kv_araddr`` and so on are AXI4 masters, served by
    :meth:`memory`. Ports ``sdram__cs_n`` and so on are those of
    :func:`celosia.rtl.sdram.sdram_pins`: :meth:`sdram`.

    The chip starts reset. Bytes are offered to it as fast as it takes them, and taken from it
    as soon as they are valid. Cycle 0 is the first after reset.

    Parameters
    ----------
    verilog : str
        The text of the top module, called ``top``, and of the modules inside it.
    taps : iterable of str, optional
        The taps to record; by default all.
    waves : path, optional
        Where to write a VCD file of everything (slow, and large).

    Attributes
    ----------
    widths : dict
        Bits of each tap's payload.
    axi_ports : dict
        Bits of a transfer of each AXI4 port, by its name: ``"m_axi0"``.
    cycle : int
        Cycles since reset.

    Raises
    ------
    ValueError
        If a port is missing.
    celosia.sim.toolchain.ToolError
        If a tool is missing or fails.
    """

    def __init__(self, verilog, taps=None, *, waves=None):
        ports = _outputs(verilog)
        found = _taps(verilog, ports)
        names = list(found) if taps is None else list(taps)
        for name in names:
            if name not in found:
                raise ValueError(f"taps must be among {[*found]}, not {name!r}")
        self.widths = {name: found[name] for name in names}
        self._activity_width = ports.get("activity", 0)
        self.axi_ports = _axi_ports(verilog)
        writes = [name for name in self.axi_ports if f"{name}_awaddr" in ports]
        self._has_sdram = "sdram__cs_n" in ports
        header = _header(self.widths, self._activity_width, self.axi_ports, writes, self._has_sdram)
        self._library = _load(_build(verilog, header, waves is not None))
        path = b"" if waves is None else str(Path(waves).absolute()).encode()
        self._chip = self._library.celosia_new(path)
        self._batch = 1000
        self._memories = {}

    def close(self):
        """Free the chip and finish its VCD file."""
        if self._chip:
            self._library.celosia_delete(self._chip)
            self._chip = None

    def __del__(self):
        if getattr(self, "_chip", None):
            self.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def reset(self):
        """Reset the chip for two cycles; forget what was sent, received and recorded.

        The contents of memories remain, as in hardware.
        """
        self._library.celosia_reset(self._chip)

    @property
    def cycle(self):
        return self._library.celosia_cycle(self._chip)

    @property
    def unsent(self):
        """How many bytes the chip has not taken yet."""
        return self._library.celosia_unsent(self._chip)

    def send(self, data):
        """Queue bytes for the chip."""
        data = bytes(data)
        self._library.celosia_send(self._chip, data, len(data))

    def memory(self, port, contents, latency=20, stall=0):
        """What lies behind an AXI4 port.

        Parameters
        ----------
        port : int, or str
            ``0`` for the port ``m_axi0``, ``"kv"`` for ``m_axi_kv``.
        contents : uint8 array, C-contiguous
            What lies beyond its end is answered with DECERR. Not copied; writes change it.
        latency : int
            Cycles from a burst's address to its first transfer, where it need not wait.
        stall : int, 0 to 255
            In so many of 256 cycles, at random, a channel pauses.
        """
        index = self._port(port)
        contents = np.ascontiguousarray(contents, np.uint8)
        self._memories[index] = contents
        self._library.celosia_memory(
            self._chip, index, contents.ctypes.data, contents.size, latency, stall
        )

    def fault(self, port, address, response=2):
        """Answer for the byte at ``address`` with ``response`` until :meth:`memory` is called.

        2 is SLVERR, 3 DECERR.
        """
        self._library.celosia_fault(self._chip, self._port(port), address, response)

    def _port(self, port):
        name = f"m_axi{port}" if isinstance(port, int) else f"m_axi_{port}"
        if name not in self.axi_ports:
            raise ValueError(f"port must be among {[*self.axi_ports]}, not {name}")
        return [*self.axi_ports].index(name)

    def sdram(self, contents):
        """What the SDRAM holds from its address 0 on; the rest is noise.

        Parameters
        ----------
        contents : uint8 array, up to 32 MB
        """
        contents = np.ascontiguousarray(contents, np.uint8)
        if not self._has_sdram:
            raise ValueError("the top module has no SDRAM")
        if contents.size > SDRAM_BYTES:
            raise ValueError(f"contents must have up to {SDRAM_BYTES} bytes, not {contents.size}")
        self._library.celosia_sdram(self._chip, contents.ctypes.data, contents.size)

    def step(self, max_cycles, until_tx=1):
        """Run until `until_tx` bytes wait to be fetched, or for `max_cycles` cycles.

        Parameters
        ----------
        max_cycles : int
        until_tx : int or None
            None runs all cycles.

        Returns
        -------
        int
            The cycles run.
        """
        done = 0
        while done < max_cycles:
            missing = 2**63
            if until_tx is not None:
                missing = until_tx - self._library.celosia_count(self._chip, TX)
                if missing <= 0:
                    break
            batch = min(self._batch, max_cycles - done)
            begin = time.monotonic()
            done += self._library.celosia_step(self._chip, batch, missing)
            # A batch takes about a tenth of a second, so that Ctrl-C is heard.
            if time.monotonic() - begin < 0.1:
                self._batch = min(2 * self._batch, LARGEST_BATCH)
            else:
                self._batch = max(self._batch // 2, 1)
        return done

    def received(self):
        """The bytes that came out of the chip since the last call."""
        return self.received_with_cycles()[0]

    def received_with_cycles(self):
        """Like :meth:`received`, with the cycle of each byte: ``(bytes, uint64[n])``."""
        cycles, payload = self._record(TX, 8)
        self._library.celosia_clear(self._chip, TX)
        return payload.tobytes(), cycles

    def record(self, taps=True, activity=False):
        """Switch recording of the taps and of the activity on or off."""
        if activity and not self._activity_width:
            raise ValueError("the top module has no output called activity")
        self._library.celosia_recording(self._chip, taps, activity)

    def taps(self, name):
        """What a tap recorded since reset or :meth:`forget`: ``(uint64[n], uint8[n, bytes])``.

        The first array holds the cycles, the second the payloads, lowest byte first.
        """
        return self._record([*self.widths].index(name), self.widths[name])

    def activity(self):
        """The values of ``activity`` and the cycles since when each held, like :meth:`taps`."""
        return self._record(ACTIVITY, self._activity_width)

    def forget(self):
        """Drop what the taps and the activity recorded."""
        for which in (ACTIVITY, *range(len(self.widths))):
            self._library.celosia_clear(self._chip, which)

    def _record(self, which, width):
        count = self._library.celosia_count(self._chip, which)
        octets = -(-width // 8)
        if not count:
            return np.zeros(0, np.uint64), np.zeros((0, octets), np.uint8)
        cycles = self._library.celosia_cycles(self._chip, which)
        payload = self._library.celosia_bytes(self._chip, which)
        return (
            np.ctypeslib.as_array(cycles, (count,)).copy(),
            np.ctypeslib.as_array(payload, (count, octets)).copy(),
        )


def _outputs(verilog):
    """The outputs of the module ``top`` and their widths."""
    start = re.search(r"^module top\(", verilog, re.MULTILINE)
    if start is None:
        raise ValueError("the Verilog must have a module called top")
    body = verilog[start.start() : verilog.index("\nendmodule", start.start())]
    for name in ("clk", "rst", *PORTS):
        if not re.search(rf"^  (input|output) (\[\d+:0\] )?{name};", body, re.MULTILINE):
            raise ValueError(f"the top module must have a port called {name}")
    found = re.findall(r"^  output (?:\[(\d+):0\] )?(\w+);", body, re.MULTILINE)
    return {name: int(high or 0) + 1 for high, name in found}


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


def _header(widths, activity_width, axi_ports, writes, has_sdram):
    """The C++ text that tells native.cpp about the design."""

    def port(name):
        return name.replace("__", "___05F")

    lines = [f"#define CELOSIA_N_TAPS {len(widths)}", "#define CELOSIA_TAPS(TAP) \\"]
    lines += [
        f"    TAP({index}, {port(name)}___05Fvalid, {port(name)}___05Fpayload, {-(-width // 8)}) \\"
        for index, (name, width) in enumerate(widths.items())
    ]
    lines += ["", "", f"#define CELOSIA_N_AXI {len(axi_ports)}", "#define CELOSIA_AXI(AXI) \\"]
    items = {
        name: f"    AXI({n}, {name}_, {width // 8}) \\"
        for n, (name, width) in enumerate(axi_ports.items())
    }
    lines += [*items.values(), "", "", "#define CELOSIA_AXI_WRITES(AXI) \\"]
    lines += [*(items[name] for name in writes), "", ""]
    lines += [f"#define CELOSIA_SDRAM {int(has_sdram)}"]
    if activity_width:
        lines += ["#define CELOSIA_ACTIVITY activity"]
        lines += [f"#define CELOSIA_ACTIVITY_BYTES {-(-activity_width // 8)}"]
    return "\n".join(lines) + "\n"


def _build(verilog, header, trace):
    """The shared library's path."""
    tools = toolchain.find()
    main = (Path(__file__).parent / "native.cpp").read_text()
    support = [p for p in tools.runtime("-O1", trace) if p.name != "verilated_vpi.o"]

    def make(folder):
        flags = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert"]
        flags += ["--output-split", str(SPLIT), *(["--trace-vcd"] if trace else [])]
        sources = tools.verilate(folder, verilog, flags)
        slow = [name for name in sources if "__Slow" in name or "__Syms" in name]
        (folder / "taps.h").write_text(header)
        (folder / "native.cpp").write_text(main)
        (folder / "slow.cpp").write_text("".join(f'#include "{name}"\n' for name in slow))
        units = {"slow.cpp": "-O0", "native.cpp": "-O2"}
        units |= {name: "-O2" for name in sources if name not in slow}
        base = [*tools.compile_flags(trace), "-I.", "-Iobj", "-c"]
        stopped = threading.Event()  # a compiler failed or was interrupted: start no other

        def compile_unit(arguments):
            if stopped.is_set():
                return
            try:
                tools.compile(folder, arguments)
            except BaseException:
                stopped.set()
                raise

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = [
                pool.submit(compile_unit, [*base, level, name, "-o", f"{index}.o"])
                for index, (name, level) in enumerate(units.items())
            ]
            for job in jobs:
                job.result()
        objects = [f"{index}.o" for index in range(len(units))]
        tools.compile(folder, ["-shared", "-o", "chip.so", *objects, *support, "-pthread"])

    key = tools.key("native", RECIPE, main, trace, header, verilog)
    return toolchain.cached(key, make) / "chip.so"


def _load(path):
    """The C functions of native.cpp, with their types."""
    library = ctypes.CDLL(str(path))
    chip, number, which = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int
    for name, result, arguments in [
        ("new", chip, [ctypes.c_char_p]),
        ("delete", None, [chip]),
        ("reset", None, [chip]),
        ("send", None, [chip, ctypes.c_char_p, number]),
        ("unsent", number, [chip]),
        ("memory", None, [chip, which, ctypes.c_void_p, number, number, ctypes.c_uint32]),
        ("fault", None, [chip, which, number, ctypes.c_uint32]),
        ("sdram", None, [chip, ctypes.c_void_p, number]),
        ("step", number, [chip, number, number]),
        ("cycle", number, [chip]),
        ("recording", None, [chip, ctypes.c_int, ctypes.c_int]),
        ("count", number, [chip, which]),
        ("cycles", ctypes.POINTER(ctypes.c_uint64), [chip, which]),
        ("bytes", ctypes.POINTER(ctypes.c_uint8), [chip, which]),
        ("clear", None, [chip, which]),
    ]:
        function = getattr(library, f"celosia_{name}")
        function.restype, function.argtypes = result, arguments
    return library
