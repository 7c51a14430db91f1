"""A board with its tape in the SDRAM, at its pins: loaded and asked by a foreign UART."""

import zlib
from dataclasses import replace

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.boards.catalog import find_board
from celosia.boards.sdram_pads import DELAY, SdramPads, clock_delay
from celosia.generators.config import load_config
from celosia.generators.plan import FLASH_OFFSET, make_plan
from celosia.protocol import messages
from celosia.protocol.messages import LOAD_BYTES
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.rtl.memory.sdram_timing import SdramTiming
from celosia.rtl.memory.spi_flash import spi_flash_pins
from celosia.sim import bench
from pin_talk import heard
from sdram_pins import MEMBERS, connect_ports, simulation_ports
from test_board_pins import COUNT, PROMPT

pytest.importorskip("cocotbext.uart", reason="needs cocotbext-uart: pip install celosia[test]")

MEGAHERTZ, BAUD = 80, 8_000_000  # a fast line keeps the simulation short


def make(*settings):
    sizes = ModelConfig(
        dim=16, hidden_dim=24, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=4, vocab_size=37,
        seq_len=24, tied=True,
    )  # fmt: skip
    made = make_plan(random_model(sizes, seed=1), load_config("tiny", ["memory=sdram", *settings]))
    return replace(made, info=replace(made.info, frequency=MEGAHERTZ * 10**6))


@pytest.fixture(scope="module")
def plan():
    return make()


class Pins(wiring.Component):
    """What the ULX3S's top holds, but for the clocks: the serial machine and the SDRAM's pads."""

    def __init__(self, serial):
        self.serial = serial
        members = {"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(4), **MEMBERS}
        if serial.has_flash:
            members["flash"] = Out(spi_flash_pins())
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        ports = simulation_ports()
        m.submodules.serial = serial = self.serial
        m.submodules.pads = pads = SdramPads(ports)
        connect(m, serial.sdram, pads.pins)
        connect_ports(m, ports, self)
        m.d.comb += [serial.rx.eq(self.rx), self.tx.eq(serial.tx), self.leds.eq(serial.leds)]
        if serial.has_flash:
            connect(m, serial.flash, flipped(self.flash))
        return m


@pytest.mark.slow
def test_text_comes_out_of_the_pins(plan):
    image = plan.images()[0].tobytes()
    parts = [image[n : n + LOAD_BYTES] for n in range(0, len(image), LOAD_BYTES)]
    run = messages.encode(messages.Run(0, len(PROMPT), COUNT, plan.shape.vocab_size, 0, 0))
    loads = [messages.Load(n * LOAD_BYTES, part) for n, part in enumerate(parts)]
    prompt = messages.encode(messages.Prompt(0, PROMPT))
    check = messages.encode(messages.Check(0, len(image)))
    length = 12 * COUNT + 5 + 4 + 4 * plan.info.n_counters
    talk = [
        (messages.encode(messages.AskInfo()), len(messages.encode(plan.info))),
        (run, 7),  # too early
        (b"".join(map(messages.encode, loads)), 6 * len(loads)),
        (check, 9),
        (prompt, 6),
        (run, 6 + length),
    ]
    answers, commands = converse(plan, talk)
    assert answers[0] == plan.info
    assert answers[1] == messages.Error(messages.Kind.RUN, 12)
    assert answers[2 : 2 + len(loads)] == [messages.Ack(messages.Kind.LOAD)] * len(loads)
    assert messages.Checksum(zlib.crc32(image)) in answers
    check_tokens(plan, answers)
    assert commands["WRITE"] == len(image) // 2


def converse(plan, talk, **more):
    """What the board answers to frames, each given with the length of its answer."""
    expect, total = [], 0
    for data, answer in talk:
        total += answer
        expect.append((data, total))
    top = find_board("ulx3s_85f").top(plan.machine(), MEGAHERTZ, BAUD)
    period = 1000 / MEGAHERTZ
    given = {
        "period": period,
        "divisor": top.serial.divisor,
        "phase": top.late * period / top.pll.divide,
        "delay": DELAY,
        "skew": 0.01,
        "talk": expect,
        "patience": 20_000,
        **more,
    }
    said, commands = bench.run_program(Pins(top.serial), "bench_sdram_board", given)
    answers, damaged = heard(said)
    assert damaged == 0
    return answers, commands


def check_tokens(plan, answers):
    tokens = [m.token for m in answers if isinstance(m, messages.Token)]
    expected, _ = integer.generate(plan.model, PROMPT, COUNT, 0, 0)
    assert tokens == expected


@pytest.mark.slow
def test_boots_from_flash():
    plan = make("boot=flash")
    image = plan.images()[0].tobytes()
    status = messages.encode(messages.AskStatus())
    prompt = messages.encode(messages.Prompt(0, PROMPT))
    run = messages.encode(messages.Run(0, len(PROMPT), COUNT, plan.shape.vocab_size, 0, 0))
    length = 12 * COUNT + 5 + 4 + 4 * plan.info.n_counters
    talk = [(status, 9), (status, 9), (prompt, 6), (run, 6 + length)]
    contents = bytes(FLASH_OFFSET) + image
    answers, commands = converse(plan, talk, flash=contents, pause=32 * len(image) + 25_000)
    check_tokens(plan, answers)
    assert answers[:2] == [messages.Status(0, 0)] * 2
    assert commands["WRITE"] == len(image) // 2


@pytest.mark.parametrize("megahertz", [25, 40, 50, 60, 66, 75, 80, 90, 100, 110, 125, 133])
def test_phase_of_the_clock(plan, megahertz):
    top = find_board("ulx3s_85f").top(plan.machine(), megahertz, 1_000_000)
    period = 1e9 / top.pll.frequency
    phase = top.late * period / top.pll.divide
    timing = SdramTiming()
    assert timing.setup <= phase <= period - timing.hold
    # Data are taken a cycle after the edge at which they hold.
    assert phase - period + DELAY + timing.ac <= period <= phase + DELAY + timing.oh


def test_no_phase():
    with pytest.raises(ValueError, match="no phase of the SDRAM's clock is right at 40 MHz in 2"):
        clock_delay(40e6, 2)
