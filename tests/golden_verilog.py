"""What two small machines' Verilog looks like, kept in tests/golden: a refactor shows no change.

A line for each module: its ports, assignments, registers and cells, and a hash of its text. The
whole text would be a hundred times as long. To renew the files after a wanted change, from the
repository's root::

    python tests/golden_verilog.py
"""

import hashlib
import re
from pathlib import Path

from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference.model import ModelConfig, random_model

__all__ = ["FOLDER", "MACHINES", "digest", "plan_of", "verilog_of"]

FOLDER = Path(__file__).parent / "golden"
SIZES = {
    "dim": 16,
    "hidden_dim": 24,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 4,
    "vocab_size": 37,
    "seq_len": 24,
    "tied": True,
}
MACHINES = {
    "tiny": (),
    "external": ("token_parallelism=2", "memory=axi", "kv_memory=axi", "control=axi_lite"),
}


def plan_of(name):
    """The plan of a machine with random weights."""
    return make_plan(random_model(ModelConfig(**SIZES)), load_config("tiny", MACHINES[name]))


def verilog_of(name):
    """Its Verilog."""
    return to_verilog(plan_of(name).machine())


def digest(verilog):
    """The lines of a golden file: who made the text, then its modules in order."""
    first, _, rest = verilog.partition("\n")
    lines = [first.strip("/* ")]
    for module in re.split(r"^module ", rest, flags=re.MULTILINE)[1:]:
        name, ports = re.match(r"\\?(\S+?) ?\(([^)]*)\)", module).groups()
        counts = {
            "ports": len(ports.split(",")),
            "assigns": len(re.findall(r"^  assign ", module, re.MULTILINE)),
            "registers": len(re.findall(r"^  reg (?!.*\$auto)", module, re.MULTILINE)),
            "lines": module.count("\n"),
        }
        numbers = " ".join(f"{what} {count}" for what, count in counts.items())
        lines.append(f"{name}: {numbers}, {hashlib.sha256(module.encode()).hexdigest()[:12]}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in MACHINES:
        (FOLDER / f"{name}.txt").write_text(digest(verilog_of(name)))
