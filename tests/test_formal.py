"""The stream rules of every unit, proved; and the prover itself, on units that break them."""

from pathlib import Path

import pytest
from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.sim.formal import Refuted, prove
from formal_units import ASSUMED, BOUNDED, QUICK, UNITS, page


def cases(bounded):
    for name in UNITS:
        for rule in ("stable", "alive"):
            if ((name, rule) in BOUNDED) == bounded:
                marks = [pytest.mark.slow] if bounded and name not in QUICK else []
                yield pytest.param(name, rule, marks=marks, id=f"{name}-{rule}")


@pytest.mark.parametrize(("name", "rule"), [*cases(bounded=False)])
def test_rule_holds_for_ever(name, rule):
    prove(UNITS[name](), rule, **ASSUMED.get(name, {}))


@pytest.mark.parametrize(("name", "rule"), [*cases(bounded=True)])
def test_rule_holds_from_reset(name, rule):
    depth, assumed = BOUNDED[name, rule]
    prove(UNITS[name](), rule, depth, **ASSUMED.get(name, {}) | assumed)


def test_page():
    assert (Path(__file__).parents[1] / "docs" / "proofs.md").read_text() == page()


class Register(wiring.Component):
    """A register between two streams, with one fault or none."""

    i: In(stream.Signature(unsigned(4)))
    o: Out(stream.Signature(unsigned(4)))

    def __init__(self, fault=None):
        self.fault = fault
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        advance, valid, payload = Signal(), Signal(), Signal(4)
        age = Signal(3)
        m.d.sync += age.eq(Mux(self.o.valid & self.o.ready, age + 1, age))
        m.d.comb += [
            advance.eq(self.o.ready | ~valid),
            self.i.ready.eq(advance),
            self.o.valid.eq(valid),
            self.o.payload.eq(payload),
        ]
        if self.fault == "changes":
            m.d.comb += self.o.payload.eq(payload ^ self.i.payload[0])
        if self.fault == "withdraws":
            m.d.comb += self.o.valid.eq(valid & ~self.i.valid)
        if self.fault == "overwrites":
            m.d.comb += [advance.eq(1), self.i.ready.eq(1)]
        if self.fault == "waits for ready":
            m.d.comb += [self.o.valid.eq(valid & self.o.ready), advance.eq(self.o.ready)]
        if self.fault == "hangs":
            m.d.comb += self.i.ready.eq(advance & (age != 3))
        with m.If(advance):
            m.d.sync += [valid.eq(self.i.valid & self.i.ready), payload.eq(self.i.payload)]
        return m


@pytest.mark.parametrize("rule", ["stable", "alive"])
def test_a_good_register_is_proved(rule):
    prove(Register(), rule)
    prove(Register(), rule, depth=6)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("changes", "stable"),
        ("withdraws", "stable"),
        ("overwrites", "stable"),
        ("waits for ready", "alive"),
        ("hangs", "alive"),
    ],
)
def test_a_faulty_register_is_refuted(fault, rule):
    with pytest.raises(Refuted, match=f"Register breaks the rule '{rule}'"):
        prove(Register(fault), rule, depth=16)
    with pytest.raises(Refuted, match=f"the rule '{rule}'"):
        prove(Register(fault), rule)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "fair"}, "rule must be one of stable, alive, not 'fair'"),
        ({"rule": "alive", "idle": ["seed"]}, r"idle must be among \['i'\], not 'seed'"),
        ({"rule": "stable", "held": {"x": "i__ready"}}, "held must be of .*, not 'x'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        prove(Register(), **arguments)
