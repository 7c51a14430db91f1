"""What each unit of a machine takes of an ECP5: ``python bench/breakdown.py [-o FILE]``.

Yosys maps each machine of ``MACHINES`` as for a ULX3S-85F, twice. *Apart*: its modules stay, and a
unit's cells are those of its module and of all modules in it. *Together*: as one, as it is built;
there constants arrive, and what nobody reads goes. A LUT then belongs to the unit of what it drives
(the choice among a tape's block RAMs to the fetcher). What is counted is written to FILE; what is
there is not mapped again; ``python docs/scripts/generated.py`` makes docs/breakdown.md's tables.
"""

import json
import re
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from celosia.boards.build import BAUD, with_clock, write_design
from celosia.boards.catalog import find_board
from celosia.generators.components.synthesis import count_cells
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import load
from celosia.reference.model import random_model
from celosia.sim.toolchain import run_tool
from celosia.sim.tools import tool
from known_results import begin, write_known
from recorded import STORIES

__all__ = ["FILE", "MACHINES", "RESOURCES", "measure"]

FILE = Path(__file__).with_suffix(".json")
BOARD = "ulx3s_85f"
RESOURCES = ("lut", "ff", "dsp", "bram")
#: Of each machine the model, the configuration, its settings. ``stories260K`` is one of its sizes:
#: what weights are does not matter.
MACHINES = {
    "tiny": ("demo", "tiny", ()),
    "small": ("demo", "small", ()),
    "ulx3s": (
        "stories260K", "small", ("vector_lanes=4", "weight_parallelism=128", "max_seq_len=256"),
    ),
}  # fmt: skip
MACHINE = "top.serial.machine"
AROUND = "around"  # the board's top, the serial line, the results' queue


def measure(name, way):
    """What Yosys counts: ``{"whole": cells, "units": {name: cells}}``, the largest unit first.

    ``way`` is ``apart`` or ``together``; cells are a dict of ``RESOURCES``.
    """
    model, config, settings = MACHINES[name]
    model = random_model(STORIES, seed=1) if model == "stories260K" else load(model)
    board = find_board(BOARD)
    plan = with_clock(make_plan(model, load_config(config, settings)), board, board.default_clock)
    machine = plan.machine()
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        folder = Path(folder)
        write_design(board, machine, board.default_clock, BAUD, folder)
        if way == "apart":
            return _apart(board.flow, folder)
        return _together(board.flow, folder, machine.units())


def _apart(flow, folder):
    before, rest = flow.synthesis.split("synth_ecp5", 1)
    command = f"synth_ecp5 -noflatten{rest.splitlines()[0]}"
    _run(folder, f"{before}{command}\ntee -q -o stat.json stat -json")
    modules = json.loads((folder / "stat.json").read_text())["modules"]
    modules = {name.lstrip("\\"): m["num_cells_by_type"] for name, m in modules.items()}
    units = defaultdict(Counter)
    for module in modules:
        found = re.fullmatch(rf"{re.escape(MACHINE)}\.([^.$]+)(\$\d+)?", module)
        if found:
            units[found[1]].update(_within(module, modules))
    return _found(_within("top", modules), units)


def _within(module, modules):
    """The cells of a module, and of the modules in it."""
    found = Counter(count_cells({"design": {"num_cells_by_type": modules[module]}}, "ecp5"))
    for kind, number in modules[module].items():
        if kind.lstrip("\\") in modules:
            inner = _within(kind.lstrip("\\"), modules)
            found.update({resource: number * count for resource, count in inner.items()})
    return found


def _together(flow, folder, names):
    marks = [
        f'setattr -set src "{name}" {MACHINE}.{place}/{kind}:*'
        for name in names
        for place in (name, f"{name}.*", f"{name}$*")
        for kind in "cp"
    ]
    _run(folder, "\n".join([*marks, flow.synthesis]))
    cells = json.loads((folder / "top.json").read_text())["modules"]["top"]["cells"]
    units = defaultdict(Counter)
    for cell, unit in zip(cells.values(), _units_of(cells, set(names)), strict=True):
        units[unit].update(
            count_cells({"design": {"num_cells_by_type": {cell["type"]: 1}}}, "ecp5")
        )
    return _found(sum(units.values(), Counter()), units)


def _units_of(cells, names):
    """The unit of each cell: it is said of it, or it is that of most of what it drives."""
    units, drives = {}, defaultdict(list)
    for name, cell in cells.items():
        said = re.split("[|]", cell["attributes"].get("src", ""))
        said += re.findall(r"serial\.machine\.([a-z_0-9]+)", name)  # of memories and multipliers
        said = [n for n in said if n in names]
        if said and cell["type"] != "LUT4":
            units[name] = said[0]
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    drives[bit].append(name)

    def targets(cell):
        outputs = [
            b for p, b in cell["connections"].items() if cell["port_directions"][p] != "input"
        ]
        return [target for bits in outputs for bit in bits for target in drives[bit]]

    left = {name: targets(cell) for name, cell in cells.items() if name not in units}
    while left:
        known = {name: [units.get(t) for t in to] for name, to in left.items()}
        ready = {n: to for n, to in known.items() if all(to)} or known  # of the rest what is known
        for name, to in ready.items():
            votes = Counter(filter(None, to))
            units[name] = votes.most_common(1)[0][0] if votes else AROUND
            del left[name]
    return [units[name] for name in cells]


def _found(whole, units):
    """As it is written: dicts of ``RESOURCES``, the largest unit first."""
    units = {name: {r: cells[r] for r in RESOURCES} for name, cells in units.items()}
    units = dict(sorted(units.items(), key=lambda item: (-item[1]["lut"], item[0])))
    return {"whole": {r: whole[r] for r in RESOURCES}, "units": units}


def _run(folder, commands):
    (folder / "breakdown.ys").write_text(f"read_rtlil top.il\n{commands}\n")
    run_tool([*tool("yosys"), "-q", "-s", "breakdown.ys"], folder)


def main():
    arguments, known = begin(__doc__, FILE)
    for name in MACHINES:
        for way in ("together", "apart"):
            found = known.setdefault(name, {})
            if way not in found and not arguments.check:
                found[way] = measure(name, way)
                write_known(arguments.o, known)
            if way in found:
                print(f"{name}, {way}: {found[way]['whole']}", flush=True)


if __name__ == "__main__":
    main()
