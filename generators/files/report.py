"""What a machine is made of, as one JSON object: the report beside every generated Verilog."""

import re
from dataclasses import asdict

from celosia import __version__

__all__ = ["machine_report", "memories"]


def machine_report(plan, verilog=None):
    """Shapes, formats, memory map, ideal cycles, multipliers and memories of ``plan``'s machine.

    Bytes count from the start of each tape. ``memories`` are those of the Verilog text, where it is
    given. The same plan gives the same report.

    Returns
    -------
    dict
        Of what JSON knows.
    """
    model, shape = plan.model, plan.shape
    report = {
        "celosia": __version__,
        "model": {
            "name": plan.info.name,
            "hash": plan.info.model_hash.hex(),
            **asdict(model.config),
        },
        "config": asdict(plan.config),
        "shape": {**asdict(shape), "multipliers": shape.multipliers},
        "routes": list(getattr(plan.program, "routes", ())),
        "formats": plan.formats,
        "memory_map": plan.memory_map,
        "multipliers": shape.multipliers,
        "macs": {str(n): plan.macs(n) for n in _positions(plan)},
        "ideal_cycles": {str(n): plan.ideal_cycles(n) for n in _positions(plan)},
    }
    if verilog is not None:
        found = memories(verilog)
        report["memories"] = found
        report["memory_bits"] = sum(memory["bits"] for memory in found)
    return report


def memories(verilog):
    """The memories in a Verilog text: ``[{"module", "name", "width", "depth", "bits"}, ...]``."""
    found = []
    for text in re.split(r"^module ", verilog, flags=re.MULTILINE)[1:]:
        module = re.match(r"\\?([^\s(]+)", text).group(1)
        for high, name, last in re.findall(
            r"^ *reg (?:\[(\d+):0\] )?\\?(\S+) +\[(\d+):0\];", text, re.MULTILINE
        ):
            size = {"width": int(high or 0) + 1, "depth": int(last) + 1}
            bits = size["width"] * size["depth"]
            found.append({"module": module, "name": name, **size, "bits": bits})
    return found


def _positions(plan):
    return [n for n in (0, 100) if n < plan.shape.max_seq_len]
