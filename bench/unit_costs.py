"""What a machine's units take of an ECP5, each alone: ``python bench/unit_costs.py [-o FILE]``.

Yosys maps units of some machines of :mod:`chip_model`, as the boards' flow does, and what was
counted is written to FILE; what is there is not mapped again. ``--fit`` maps nothing: it fits costs
to FILE, then the shares of them that remain in whole machines (``chip_model.FIT``) where units are
optimised together, and writes what ``celosia.boards.unit_costs`` reads.
"""

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from celosia.boards import unit_costs
from celosia.boards.unit_costs import COSTS, TERMS, beyond, terms
from celosia.generators.components.synthesis import PLATFORMS, count_cells, run_yosys
from celosia.generators.estimate.sketch import make_sketch
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_rtlil
from celosia.reference.model import random_model
from celosia.sim.toolchain import ToolError
from chip_model import FILE as WHOLE
from chip_model import FIT, configured
from known_results import begin, read_known, write_known

__all__ = ["FILE", "fit", "measure"]

FILE = Path(__file__).with_suffix(".json")
SCRIPT = "synth_ecp5 -nodsp -top top -run begin:check\ntee -q -o stat.json stat -json"
#: Of each machine the units that are mapped; by default all. The tape's contents take minutes.
MACHINES = {
    "2 lanes": (),
    "4 lanes": (),
    "16 rows, 4 lanes": ("fetch",),
    "qwen3": ("norm_of_heads",),
    "gpt2": ("bias",),
    "packed": ("fabric", "fetch"),
    "packed, few keys": ("fabric",),
    "packed, 8 lanes": ("fabric", "fetch"),
    "packed, LUTs": ("fabric",),
}
LEFT_OUT = ("tape", "slots")
#: Units by what they are.
KINDS = {"norm_of_heads": "stream_norm"} | dict.fromkeys(
    (f"saturated_{n}" for n in ("activations", "gates", "heads", "residual", "scaled", "scores")),
    "saturated_values",
)
BOARD = 350  # LUTs around a machine: its serial line, LEDs
#: What a unit's cost depends on, where that is not its lanes.
DEPENDS = dict.fromkeys(("link", "controller", "sequencer", "scale_tape", "sums"), ("fixed",))
DEPENDS |= dict.fromkeys(("activations", "queries", "scores"), ("lane_token",))
DEPENDS |= {"fabric": ("row_token", "product"), "fetch": ("fixed", "row_token", "product")}


def measure(unit):
    """What Yosys counts of a component on its own: ``{"lut", "ff"}``."""
    text = to_rtlil(unit, platform=SimpleNamespace(**PLATFORMS["ecp5"]))
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        try:
            run_yosys(folder, text, SCRIPT)
        except ToolError:  # Yosys 0.70 stumbles over some names of signals: without them
            run_yosys(folder, text, f"rename -hide w:*\n{SCRIPT}")
        found = count_cells(json.loads(Path(folder, "stat.json").read_text()), "ecp5")
    return {name: found[name] for name in ("lut", "ff")}


def fit(known, whole, resource):
    """``{unit: a number for each of TERMS}`` of a ``resource``, of what was counted."""
    sketches = {name: make_sketch(*configured(name)) for name in {*known, *FIT}}
    more = {name: beyond(sketch)[resource] for name, sketch in sketches.items()}
    samples = {}
    for machine, units in known.items():
        together = {}
        for name, found in units.items():
            kind = KINDS.get(name, name)
            together[kind] = together.get(kind, 0) + found[resource]
        for kind, number in together.items():
            number -= more[machine].get(kind, 0)
            samples.setdefault(kind, []).append((terms(sketches[machine].shape), number))
    alone = {kind: _alone(kind, rows) for kind, rows in samples.items()}
    alone["board"] = np.array([BOARD * (resource == "lut"), 0, 0, 0, 0])
    usual = sum(cost for kind, cost in alone.items() if kind not in unit_costs.OPTIONAL)
    # Shares of what is fixed, of what lanes take, of rows and products.
    rows = [usual * terms(sketches[name].shape) for name in FIT]
    spread = np.array([[fixed, a + b, c + d] for fixed, a, b, c, d in rows], float)
    counted = np.array([whole[name][resource] - sum(more[name].values()) for name in FIT])
    weights = 1 / np.array([whole[name][resource] for name in FIT])
    found = np.linalg.lstsq(spread * weights[:, None], counted * weights, rcond=None)[0]
    shares = found[[0, 1, 1, 2, 2]]
    placed = {kind: cost * shares for kind, cost in alone.items()}
    return {kind: [round(x, 1) for x in cost.tolist()] for kind, cost in placed.items()}


def _alone(kind, samples):
    """A unit's cost: measured at one size half of it is taken to be fixed."""
    names = DEPENDS.get(kind, ("fixed", "lane"))
    places = [TERMS.index(name) for name in names]
    seen = np.array([x[places] for x, _ in samples], float)
    counted = np.array([number for _, number in samples], float)
    cost = np.zeros(len(TERMS))
    if len(samples) < len(names) == 2 and kind not in DEPENDS:
        cost[places] = counted[0] / 2 / seen[0]
    else:
        cost[places] = np.linalg.lstsq(seen, counted, rcond=None)[0]
    return cost


def main():
    if "--fit" in sys.argv:
        known, whole = read_known(FILE), read_known(WHOLE)
        costs = {resource: fit(known, whole, resource) for resource in ("lut", "ff")}
        COSTS.write_text(json.dumps(costs, indent=1) + "\n")
        return
    arguments, known = begin(__doc__, FILE)
    for machine, names in MACHINES.items():
        model, config = configured(machine)
        units = make_plan(random_model(model, seed=1), config).machine().units()
        for name, unit in units.items():
            mine = known.setdefault(machine, {})
            if name not in mine and name not in LEFT_OUT and (not names or name in names):
                mine[name] = measure(unit)
                print(f"{machine}, {name}: {mine[name]}", flush=True)
                write_known(arguments.o, known)


if __name__ == "__main__":
    main()
