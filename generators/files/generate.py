"""A machine's files: Verilog, memory images, report."""

import json

import numpy as np
from celosia.generators.automatic import memory_needs
from celosia.generators.config import ConfigError
from celosia.generators.files.litex import litex_module
from celosia.generators.files.report import machine_report
from celosia.generators.files.vivado import annotated, package_script
from celosia.generators.verilog import to_verilog

from celosia import __version__
from celosia.folder import new_folder

__all__ = ["MADE_BY", "MEMORY_LIMIT", "check_memory", "generate", "hex_words"]

#: Bytes that tape and KV cache may take on chip: what the largest devices hold.
MEMORY_LIMIT = 64 << 20

#: What the manifest in the folder says.
MADE_BY = "celosia generate"

_WORDS = 4096  # of a memory image written at once


def check_memory(model, config):
    """Raise :class:`ConfigError` if what ``model`` keeps on chip does not fit: tape and KV cache.

    With ``memory = axi`` or ``sdram`` the tape lies elsewhere, with ``kv_memory = axi`` the cache.
    """
    tape, cache = memory_needs(model, config)
    if config.kv_memory == "axi":
        cache = 9 * cache // (16 * model.config.head_dim)  # the keys' steps
    if config.memory != "on_chip":
        tape = 0
    if tape + cache > MEMORY_LIMIT:
        raise ConfigError(
            f"tape and KV cache need {(tape + cache) / 2**20:.1f} MiB on chip, more than "
            f"{MEMORY_LIMIT >> 20}: choose a smaller max_seq_len or weight_width, memory=axi or "
            "kv_memory=axi"
        )


def generate(plan, path):
    """Write ``plan``'s machine to the folder ``path``, which appears whole or not at all.

    ``top.v`` is self-contained, but for memories of more than 4 Mbit, which it reads from
    ``memory0.hex`` and so on. ``weights.hex``, ``scales.hex`` and ``gains.hex`` are the memories'
    contents for ``$readmemh``, a word to the line, lane 0 (of row 0) in the lowest bits.
    With ``memory = axi``, ``axi0.bin`` and so on are the external memories' contents, with
    ``sdram`` it is ``sdram.bin``; there is no ``weights.hex`` then.
    Where there are AXI ports, ``package_ip.tcl`` packages the machine for Vivado.
    ``celosia_litex.py`` is the machine as a module of LiteX, and an example SoC.
    ``report.json`` is :func:`celosia.generators.files.report.machine_report`, ``manifest.json``
    lists all files with their hashes (:mod:`celosia.manifest`).

    Returns
    -------
    dict
        The report.

    Raises
    ------
    OSError
        If the folder cannot be written, or holds anything but an earlier result, unchanged.
    """
    with new_folder(path, MADE_BY) as folder:
        verilog = to_verilog(plan.machine(), folder=folder)
        if (marked := annotated(verilog)) != verilog:
            verilog = marked
            script = package_script(plan.info.name, __version__, f"Celosia: {plan.info.name}")
            (folder / "package_ip.tcl").write_text(script, encoding="utf-8")
        (folder / "top.v").write_text(verilog, encoding="utf-8")
        (folder / "celosia_litex.py").write_text(litex_module(plan, verilog), encoding="utf-8")
        if plan.config.memory != "on_chip":
            for port, image in enumerate(plan.images()):
                name = f"axi{port}" if plan.config.memory == "axi" else "sdram"
                (folder / f"{name}.bin").write_bytes(image.tobytes())
        for name, (words, width) in plan.hex_images.items():
            with (folder / f"{name}.hex").open("w") as file:
                for first in range(0, len(words), _WORDS):
                    file.writelines(hex_words(words[first : first + _WORDS], width))
        report = machine_report(plan, verilog)
        (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def hex_words(words, width):
    """A line of hexadecimal digits for each of ``words`` int[n, ...], ``width`` bits a value."""
    values = np.asarray(words).reshape(len(words), -1, 1)
    bits = (values >> np.arange(width) & 1).astype(np.uint8).reshape(len(words), -1)
    octets = np.packbits(bits, axis=1, bitorder="little")[:, ::-1]
    return [f"{octet.tobytes().hex()}\n" for octet in octets]
