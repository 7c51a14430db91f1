"""How many cycles a machine takes for a token: from its simulation."""

import contextlib
import hashlib

import msgspec
from celosia.reference.checkpoint.foreign_json import read_json
from celosia.sim.native import NativeSimulation
from celosia.sim.request import Request
from celosia.sim.simulate import machine_verilog, simulate

from celosia.output import new_json

__all__ = ["POSITION", "Measurement"]

POSITION = 100


class _Cycles(msgspec.Struct):
    """cycles.json: what was measured, and of which design."""

    position: int
    cycles_per_token: int
    utilisation: float
    design: str


class Measurement:
    """The cycles of one token of ``plan``, in simulation.

    The Verilog is made at once, of the same sources as the design that is synthesised meanwhile;
    it is that design without pins and PLL. What was measured stays in ``folder/cycles.json``.

    Parameters
    ----------
    plan : celosia.generators.plan.Plan
    folder : pathlib.Path
    position : int
        Or the last one, where there are fewer.
    """

    def __init__(self, plan, folder, position=POSITION):
        self.plan = plan
        self.path = folder / "cycles.json"
        self.position = min(position, plan.shape.max_seq_len - 1)
        self.verilog = machine_verilog(plan)

    def result(self):
        """``{"position", "cycles_per_token", "utilisation"}``."""
        digest = hashlib.sha256(f"{self.position} {self.verilog.name}".encode()).hexdigest()
        if self.path.is_file():
            with contextlib.suppress(ValueError):  # cut off by a full disk, say
                known = msgspec.structs.asdict(read_json(self.path, _Cycles))
                if known.pop("design") == digest:
                    return known
        begin = min(1, self.plan.shape.vocab_size - 1)
        with NativeSimulation(self.verilog, ("logits", "passes")) as simulation:
            simulation.record(taps=True)
            run = simulate(self.plan, simulation, Request((begin,), self.position + 1))
        cycles = run.cycles[self.position]
        found = {
            "position": self.position,
            "cycles_per_token": cycles,
            "utilisation": self.plan.ideal_cycles(self.position) / cycles,
        }
        with new_json(self.path) as write_json:
            write_json({**found, "design": digest})
        return found
