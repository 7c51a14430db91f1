"""The iCEBreaker: its clock, what fits, its design, and its machine at the pins."""

from dataclasses import replace

import pytest
from amaranth import Module
from amaranth.lib import wiring
from celosia.boards import build as flow
from celosia.boards.catalog import BOARDS, BoardError
from celosia.boards.estimate import check_fit, estimate, fitting_config, smallest_config
from celosia.boards.ice40 import Ice40Flow, plan_ice40_pll
from celosia.boards.serial_machine import SerialMachine
from celosia.boards.tape_file import read_tape, write_tape
from celosia.generators.config import Config, load_config
from celosia.generators.plan import FLASH_OFFSET, make_plan
from celosia.reference.checkpoint import load
from celosia.reference.compact import arithmetic as compact
from celosia.reference.model import ModelConfig, random_model
from celosia.rtl.compact.boot import CompactBoot
from celosia.sim import bench
from pin_talk import check_answers, question

BOARD = BOARDS["icebreaker"]
STORIES = ModelConfig(
    dim=64, hidden_dim=172, n_layers=5, n_heads=8, n_kv_heads=4, head_dim=8, vocab_size=512,
    seq_len=512, tied=True,
)  # fmt: skip
SMALL = ModelConfig(
    dim=16, hidden_dim=18, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=4, vocab_size=37,
    seq_len=24, tied=True,
)  # fmt: skip
PROMPT, COUNT = (3, 17), 3
FREQUENCY, BAUD = 20e6, 2_000_000


@pytest.fixture(scope="module")
def plan():
    made = make_plan(
        random_model(SMALL, seed=1), load_config("compact", ["max_seq_len=24", "window=4"])
    )
    return replace(made, info=replace(made.info, frequency=int(FREQUENCY)), flash=FLASH_OFFSET)


@pytest.mark.parametrize("megahertz", [17, 18, 21, 22.5, 24, 30])
def test_loop_keeps_to_its_ranges(megahertz):
    pll = plan_ice40_pll(12e6, megahertz * 1e6)
    assert 0.98 * megahertz * 1e6 <= pll.frequency <= megahertz * 1e6
    assert 533e6 <= 12e6 * pll.multiply <= 1066e6
    assert pll.frequency == BOARD.clock(megahertz)


def test_clock_that_cannot_be_made():
    with pytest.raises(ValueError, match="no clock of 10 MHz can be made of 12 MHz"):
        plan_ice40_pll(12e6, 10e6)


def test_what_fits():
    config = fitting_config(STORIES, BOARD)
    assert (config.machine, config.window, config.max_seq_len) == ("compact", 16, 512)
    needs = check_fit(STORIES, config, BOARD)
    # Synthesis found 29 block RAMs with 256 positions.
    assert needs.bram == 30
    assert estimate(STORIES, replace(config, max_seq_len=256)).bram == 29
    assert needs.spram == 8 * 16_208
    assert fitting_config(replace(STORIES, options={"windows": (10,) * 5}), BOARD).window == 8


def test_what_does_not_fit():
    demo = load("demo", None).config
    with pytest.raises(BoardError, match="bytes of single-port RAM: 202,752 needed, 131,072 avail"):
        check_fit(demo, smallest_config(demo, BOARD), BOARD)
    with pytest.raises(LookupError):
        fitting_config(demo, BOARD)
    with pytest.raises(BoardError, match=r"block RAMs: \d+ needed, 30 available.*--set window=16"):
        check_fit(STORIES, load_config("compact", ["window=32"]), BOARD)
    with pytest.raises(BoardError, match="icebreaker is for the compact machine"):
        check_fit(STORIES, Config(), BOARD)
    match = "RAM: 129,664 needed, 0 available. .* --config compact --set boot=image --set window=16"
    with pytest.raises(BoardError, match=match):
        check_fit(STORIES, load_config("compact"), BOARDS["ulx3s_85f"])


def test_design_and_tape(plan, tmp_path):
    plan = flow.with_clock(plan, BOARD, 18)
    assert plan.info.frequency == 18_000_000
    flow.write_design(BOARD, plan.machine(), 18, 1_000_000, tmp_path)
    design, pins = ((tmp_path / name).read_text() for name in BOARD.flow.files)
    for cell, count in (("SB_MAC16", 8), ("SB_SPRAM256KA", 4), ("SB_PLL40_PAD", 1)):
        assert design.count(f"cell \\{cell} ") == count
    for pin in ("clk12_0__io 35", "uart_0__rx__io 6", "spi_flash_1x_0__clk__io 15"):
        assert f"set_io {pin}" in pins
    write_tape(plan, tmp_path)
    image, record = read_tape(tmp_path)
    assert len(image) == 8 * len(plan.image.weights)
    assert record.flash_offset == FLASH_OFFSET


def test_report(tmp_path):
    (tmp_path / "stat.txt").write_text(
        "   3 wires\n  12   SB_DFF\n  30   SB_DFFESR\n  9   SB_LUT4\n"
    )
    (tmp_path / "route1.json").write_text(
        '{"fmax": {"clk": {"achieved": 23.5, "constraint": 21}, "clock": {"achieved": 85.0, '
        '"constraint": 21}}, "utilization": {"ICESTORM_LC": {"used": 50, "available": 5280}, '
        '"ICESTORM_DSP": {"used": 8, "available": 8}, "ICESTORM_RAM": {"used": 9, "available": 30},'
        '"ICESTORM_SPRAM": {"used": 4, "available": 4}}}'
    )
    found = Ice40Flow("sg48").read_report(tmp_path / "route1.json")
    assert found["fmax_mhz"] == 23.5
    assert found["ff"] == {"used": 42, "available": 5280}


class Pins(wiring.Component):
    """What the board's top holds, but for its clock: with the chip's blocks made portable."""

    def __init__(self, serial):
        self.serial = serial
        super().__init__(serial.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.serial = self.serial
        wiring.connect(m, wiring.flipped(self), self.serial)
        return m


def test_text_comes_out_of_the_pins(plan):
    pytest.importorskip("cocotbext.uart", reason="needs cocotbext-uart: pip install celosia[test]")
    machine = SerialMachine(plan.machine(), FREQUENCY, BAUD)
    tape = plan.images()[0].tobytes()
    given = {
        "divisor": machine.divisor,
        "skew": 0.01,
        "talk": question(plan, PROMPT, COUNT),
        "patience": 5_000,
        "flash": bytes(FLASH_OFFSET) + tape,
        "pause": 16 * len(tape) + 3000,
    }
    data = bench.run_program(Pins(machine), "bench_icebreaker", given)
    check_answers(plan, data, compact.generate(plan.model, PROMPT, COUNT)[0])


def test_boot_out_of_range():
    with pytest.raises(ValueError, match="size must be from 1 to 16384, not 16385"):
        CompactBoot(16385, 0, 20e6)
    with pytest.raises(ValueError, match="offset must be from 0"):
        CompactBoot(1, 1 << 24, 20e6)
    with pytest.raises(ValueError, match=r"offset \+ 8 \* size must be from 0"):
        CompactBoot(2, (1 << 24) - 8, 20e6)
