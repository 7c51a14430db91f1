import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Value
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.rtl.mac.ternary_sum import TernaryChain, sum_width
from test_multiplier import ECP5, yosys


@pytest.mark.parametrize(("terms", "before"), [(2, 0), (1, 5), (2, 3)])
def test_carry_chains_are_proved_equal(terms, before):
    texts = {}
    for name, platform in (("gold", None), ("gate", ECP5)):
        unit = TernaryChain(terms, before)
        ports = {n: (Value.cast(getattr(unit, n)), None) for n in unit.signature.members}
        texts[name] = rtlil.convert(unit, name=name, ports=ports, platform=platform)
    assert "CCU2C" in texts["gate"]
    assert "CCU2C" not in texts["gold"]
    said = yosys(
        "read_rtlil gate.il; read_verilog -overwrite -defer +/ecp5/cells_sim.v\n"
        "hierarchy -top gate\n"
        "read_rtlil gold.il; proc; setattr -mod -unset top gold gate; flatten; opt_clean\n"
        "miter -equiv -flatten gold gate miter; sat -verify -prove trigger 0 miter\n",
        **texts,
    )
    assert said.count("SAT proof finished - no model found: SUCCESS!") == 1


def test_sums_have_room():
    for terms in range(1, 70):
        assert 128 * terms <= (1 << sum_width(terms) - 1) - 1 + (terms & (terms - 1) == 0)
        assert -128 * terms >= -(1 << sum_width(terms) - 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "terms must be from 1 to 64, not 0"),
        ((1, -1), "before must be from 0 to 1023, not -1"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        TernaryChain(*arguments)


def test_no_multipliers():
    form = MacFormat(8, 2, ternary=True)
    text = rtlil.convert(MacFabric(2, 8, form=form), platform=ECP5)
    assert "MULT18X18D" not in text
    assert "$mul" not in text


def test_scales_of_groups_are_refused():
    with pytest.raises(ValueError, match="groups must be None if ternary"):
        MacFabric(2, 8, form=MacFormat(8, 2, ternary=True), groups=np.ones(1))
