"""Two products of bytes at once: portable, and in the iCE40's block."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator
from celosia.rtl.arithmetic.pair_multiplier import PairMultiplier
from test_multiplier import yosys

ICE40 = SimpleNamespace(family="iCE40", device="iCE40UP5K")


def pairs(count):
    edges = [(-128, -128), (127, -128), (-1, 1), (0, 127)]
    rng = np.random.default_rng(count)
    return [*edges, *map(tuple, rng.integers(-128, 128, (count - 4, 2)).tolist())]


def test_exact():
    unit, values = PairMultiplier(), pairs(200)
    found = []

    async def drive(ctx):
        for n in range(len(values) + PairMultiplier.latency):
            for k in range(2):
                a, b = values[min(n + k, len(values) - 1)]
                ctx.set(unit.a[k], a)
                ctx.set(unit.b[k], b)
            await ctx.tick()
            found.append([ctx.get(unit.p[k]) for k in range(2)])

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    for n, (a, b) in enumerate(values):
        p, q = found[n + PairMultiplier.latency - 1]
        c, d = values[min(n + 1, len(values) - 1)]
        assert (p, q) == (a * b, c * d)


@pytest.mark.slow
def test_block_is_proved_equal():
    unit, texts = PairMultiplier(), {}
    ports = {name: (getattr(unit, name).as_value(), None) for name in ("a", "b", "p")}
    for name, platform in (("gold", None), ("gate", ICE40)):
        texts[name] = rtlil.convert(unit, name=name, ports=ports, platform=platform)
    assert "cell \\SB_MAC16 " in texts["gate"]
    said = yosys(
        "read_rtlil gate.il; read_verilog -defer +/ice40/cells_sim.v; hierarchy -top gate\n"
        "read_rtlil gold.il; proc; setattr -mod -unset top gold gate; flatten; async2sync\n"
        "opt -full; opt_clean; miter -equiv -flatten gold gate miter; opt -full -share_all\n"
        "sat -verify -tempinduct -set-init-zero -prove trigger 0 miter\n",
        **texts,
    )
    assert "Induction step proven: SUCCESS!" in said
