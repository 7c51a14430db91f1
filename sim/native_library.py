"""Verilog to a shared library: native.cpp around what Verilator makes of it."""

import concurrent.futures
import ctypes
import threading
from pathlib import Path

from celosia.sim import toolchain
from celosia.sim.cache import cached, keep_only
from celosia.sim.native_ports import reset_registered

from celosia import process

__all__ = ["build", "load"]

SPLIT = 20_000  # statements per C++ file
RECIPE = 3  # to be counted up when the way of building changes


def build(verilog, header, trace, optimise="-O2"):
    """The path of the shared library; built once per distinct text.

    Parameters
    ----------
    verilog : str
    header : str
        Of :meth:`celosia.sim.native_ports.Ports.header`.
    trace : bool
        Whether it can write VCD files.
    optimise : str
        The compiler's option: "-O0" is built in a fifth of the time, for runs of few cycles.
    """
    tools = toolchain.find()
    main = (Path(__file__).parent / "native.cpp").read_text()
    support = tools.runtime("-O1", trace)

    def make(folder):
        flags = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert"]
        flags += ["--output-split", str(SPLIT), *(["--trace-vcd"] if trace else [])]
        sources = tools.verilate(folder, reset_registered(verilog), flags, top="chip")
        slow = [name for name in sources if "__Slow" in name or "__Syms" in name]
        if optimise == "-O0":  # the headers take as long as the rest: they are read once
            slow = [*sources, "native.cpp"]
        (folder / "taps.h").write_text(header)
        (folder / "native.cpp").write_text(main)
        (folder / "slow.cpp").write_text("".join(f'#include "{name}"\n' for name in slow))
        units = {"slow.cpp": "-O0", "native.cpp": "-O2"} | dict.fromkeys(sources, optimise)
        units = {name: level for name, level in units.items() if name not in slow}
        base = [*tools.compile_flags(trace), "-I.", "-Iobj", "-c"]
        if optimise == "-O0":
            base += tools.headers(optimise, trace)
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
            try:
                jobs = [
                    pool.submit(compile_unit, [*base, level, name, "-o", f"{index}.o"])
                    for index, (name, level) in enumerate(units.items())
                ]
                for job in jobs:
                    job.result()
            except BaseException:
                stopped.set()
                process.end(folder)
                raise
        objects = [f"{index}.o" for index in range(len(units))]
        tools.compile(folder, ["-shared", "-o", "chip.so", *objects, *support, "-pthread"])
        keep_only(folder, "chip.so")

    key = tools.key("native", RECIPE, main, trace, optimise, header, verilog)
    return cached(key, make) / "chip.so"


def load(path):
    """The C functions of native.cpp, with their types."""
    library = ctypes.CDLL(str(path))
    chip, number, which = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int
    for name, result, arguments in [
        ("new", chip, [ctypes.c_char_p]),
        ("delete", ctypes.c_int, [chip]),
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
