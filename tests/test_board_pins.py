"""What a board holds, at its pins: a foreign UART talks to the machine and gets the reference."""

from types import SimpleNamespace

import pytest
from amaranth import Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out
from celosia.boards.serial_machine import SerialMachine
from celosia.boards.top import Top
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.sim import bench
from pin_talk import check_answers, question

pytest.importorskip("cocotbext.uart", reason="needs cocotbext-uart: pip install celosia[test]")

FREQUENCY, BAUD = 8e6, 1_000_000
PROMPT, COUNT = (3, 17, 5), 6


@pytest.fixture(scope="module")
def plan():
    sizes = ModelConfig(
        dim=16, hidden_dim=24, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, vocab_size=37,
        seq_len=24, tied=True,
    )  # fmt: skip
    return make_plan(random_model(sizes, seed=1), load_config("tiny"))


class Pins(wiring.Component):
    """A board's whole top at simulated pins: only the loop is a wire."""

    clk: In(1)
    rst: In(1)
    rx: In(1, init=1)
    tx: Out(1, init=1)
    leds: Out(3)

    frequency = FREQUENCY

    def __init__(self, machine):
        self.ports = {"clk": io.SimulationPort("i", 1), "rx": io.SimulationPort("i", 1)}
        self.ports |= {"tx": io.SimulationPort("o", 1)}
        self.led_ports = [io.SimulationPort("o", 1, invert=True) for _ in range(3)]
        uart = (self.ports["rx"], self.ports["tx"])
        self.top = Top(
            machine, self, BAUD, source="clk", uart=lambda _: uart, leds=lambda _: self.led_ports
        )
        self.divisor = self.top.serial.divisor
        self.constraints = []
        super().__init__()

    def drive(self, m, source, running):
        m.d.comb += running.eq(source)

    def elaborate(self, platform):
        board = SimpleNamespace(
            lookup=lambda name, number: SimpleNamespace(ios=()),
            request=lambda name, number, dir: self.ports[name],
            add_clock_constraint=lambda clock, frequency: self.constraints.append(frequency),
        )
        m = Module()
        m.submodules.top = self.top.elaborate(board)
        m.d.comb += [
            self.ports["clk"].i.eq(self.clk),
            self.ports["rx"].i.eq(self.rx),
            self.tx.eq(self.ports["tx"].o),
            *(led.eq(~port.o) for led, port in zip(self.leds, self.led_ports, strict=True)),
        ]
        return m


@pytest.mark.parametrize(
    "kind",
    [pytest.param(lambda m: SerialMachine(m, FREQUENCY, BAUD), marks=pytest.mark.slow), Pins],
)
def test_text_comes_out_of_the_pins(plan, kind):
    machine = kind(plan.machine())
    talk = question(plan, PROMPT, COUNT)
    given = {"divisor": machine.divisor, "skew": 0.01, "talk": talk, "patience": 20_000}
    data = bench.run_program(machine, "bench_uart", given)
    check_answers(plan, data, integer.generate(plan.model, PROMPT, COUNT, 0, 0)[0])


@pytest.mark.parametrize(("frequency", "baud"), [(11e6, 1_500_000), (25e6, 3_900_000)])
def test_baud_that_the_clock_cannot_make(plan, frequency, baud):
    match = f"baud {baud} cannot be made of a clock of {frequency / 1e6:g} MHz within 2 %"
    with pytest.raises(ValueError, match=match):
        SerialMachine(plan.machine(), frequency, baud)
