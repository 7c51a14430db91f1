"""rtl.mac.chain_product against exact products, and its carry chains against its adders."""

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Value
from amaranth.sim import Simulator
from celosia.rtl.mac.chain_product import ChainProduct
from test_multiplier import ECP5, yosys


@pytest.mark.parametrize(("w_width", "x_width"), [(4, 4), (7, 8)])
def test_every_or_random_products(w_width, x_width):
    pairs = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), axis=-1).reshape(-1, 2)
    if w_width > 4:
        high = 1 << w_width - 1, 1 << x_width - 1
        edges = [(a, b) for a in (-high[0], high[0] - 1) for b in (-high[1], high[1] - 1)]
        rng = np.random.default_rng(1)
        drawn = np.stack([rng.integers(-n, n, 300) for n in high], axis=-1)
        pairs = np.concatenate([drawn, edges])
    unit, found = ChainProduct(w_width, x_width), []

    async def drive(ctx):
        for w, x in [*pairs.tolist(), *[(0, 0)] * unit.latency]:
            ctx.set(unit.w, w)
            ctx.set(unit.x, x)
            await ctx.tick()
            found.append(ctx.get(unit.p))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert found[unit.latency - 1 : -1] == pairs.prod(axis=1).tolist()


@pytest.mark.parametrize("w_width", [3, 4, 5, 8])
def test_carry_chains_are_proved_equal(w_width):
    texts = {}
    for name, platform in (("gold", None), ("gate", ECP5)):
        unit = ChainProduct(w_width, 4)
        ports = {n: (Value.cast(getattr(unit, n)), None) for n in unit.signature.members}
        texts[name] = rtlil.convert(unit, name=name, ports=ports, platform=platform)
    assert "CCU2C" in texts["gate"]
    assert "CCU2C" not in texts["gold"]
    said = yosys(
        "read_rtlil gate.il; read_verilog -overwrite -defer +/ecp5/cells_sim.v\n"
        "hierarchy -top gate\n"
        "read_rtlil gold.il; proc; setattr -mod -unset top gold gate; flatten; opt_clean\n"
        "miter -equiv -flatten gold gate miter\n"
        "sat -verify -tempinduct -set-init-zero -prove trigger 0 miter\n",
        **texts,
    )
    assert "Induction step proven: SUCCESS!" in said


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 8), "w_width must be from 2 to 8, not 1"),
        ((4, 17), "x_width must be from 2 to 16, not 17"),
    ],
)
def test_parameters_out_of_range(sizes, message):
    with pytest.raises(ValueError, match=message):
        ChainProduct(*sizes)
