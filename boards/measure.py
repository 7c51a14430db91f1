"""How many cycles a machine takes for a token: from its simulation."""

from celosia.sim.native import NativeSimulation
from celosia.sim.simulate import Request, machine_verilog, simulate

__all__ = ["measure"]

POSITION = 100


def measure(plan, position=POSITION):
    """The cycles of the token at ``position`` (or the last one before it), in simulation.

    Of the very Verilog that the board's synthesis gets, without pins and PLL. The text begins with
    the begin token; the tokens generated are compared with the reference's.

    Returns
    -------
    dict
        ``position``, ``cycles_per_token``, ``utilisation``, ``tokens``.
    """
    position = min(position, plan.shape.max_seq_len - 1)
    request = Request((min(1, plan.shape.vocab_size - 1),), position + 1)
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        simulation.record(taps=True)
        run = simulate(plan, simulation, request)
    cycles = run.cycles[position]
    return {
        "position": position,
        "cycles_per_token": cycles,
        "utilisation": plan.ideal_cycles(position) / cycles,
        "tokens": run.tokens,
    }
