"""USB of the FPGA's own: a machine behind it at the pins, the boards' designs, clocks, refusals."""

import json
from types import SimpleNamespace

import pytest
from amaranth.hdl import ClockDomain, Module, Mux
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out, connect
from celosia.boards import build as flow
from celosia.boards.catalog import BOARDS, BoardError, find_board
from celosia.boards.estimate import estimate, on_board
from celosia.boards.link import USB_COSTS, linked
from celosia.boards.pll import plan_usb_pll
from celosia.boards.serial_machine import SerialMachine
from celosia.boards.usb_pads import UsbPads
from celosia.generators.config import Config, ConfigError, load_config
from celosia.generators.plan import make_plan
from celosia.protocol import messages
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.sim import bench
from command_line import fails
from echo_machine import INFO, EchoMachine
from pin_talk import check_answers, heard, question

SMALL = ModelConfig(
    dim=16, hidden_dim=24, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, vocab_size=37,
    seq_len=24, tied=True,
)  # fmt: skip
BUS = {"jitter": 8, "skew": 5, "ppm": 500}


class Echo(EchoMachine):
    """As far as a board is concerned, a machine."""

    activity: Out(5)


class Pins(wiring.Component):
    """What a board's top holds, but for the clocks: the machine, USB and its pads."""

    usb_clk: In(1)
    host_dp: In(1, init=1)
    host_dn: In(1)
    bus: Out(2)
    driven: Out(1)
    attached: Out(1)

    def __init__(self, machine):
        self.serial = SerialMachine(machine, 60e6, None, attach=20)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.domains.usb = usb = ClockDomain(reset_less=True)
        d_p, d_n = (io.SimulationPort("io", 1, name=name) for name in ("d_p", "d_n"))
        pullup = io.SimulationPort("o", 1, name="pullup")
        m.submodules.serial = self.serial
        m.submodules.pads = pads = UsbPads(SimpleNamespace(d_p=d_p, d_n=d_n, pullup=pullup))
        connect(m, self.serial.usb, pads.pins)
        m.d.comb += [
            usb.clk.eq(self.usb_clk),
            self.bus[0].eq(Mux(d_p.oe, d_p.o, self.host_dp)),
            self.bus[1].eq(Mux(d_n.oe, d_n.o, self.host_dn)),
            d_p.i.eq(self.bus[0]),
            d_n.i.eq(self.bus[1]),
            self.driven.eq(d_p.oe | d_n.oe),
            self.attached.eq(pullup.o),
        ]
        return m


def converse(machine, talk):
    case = {"name": "conversation", "bus": BUS, "more": {"talk": talk}}
    return bench.run_program(Pins(machine), "bench_usb", {"cases": [case]})[0]


def test_an_echo_answers_over_usb():
    run = messages.Run(0, 3, 6, 300, 0, 0)
    commands = [messages.AskInfo(), messages.Prompt(0, (7, 8, 9)), run]
    lengths = [len(messages.encode(INFO)), 6, 6 + 12 * 6 + 5 + 4 + 4 * INFO.n_counters]
    totals = [sum(lengths[: n + 1]) for n in range(3)]
    talk = list(zip(map(messages.encode, commands), totals, strict=True))
    found, damaged = heard(converse(Echo(timeout=100_000), talk))
    assert damaged == 0
    assert found[0] == INFO
    assert [each.token for each in found if isinstance(each, messages.Token)] == [7, 8, 9, 7, 8, 9]
    assert isinstance(found[-1], messages.Done)


@pytest.mark.slow
def test_text_comes_out_of_usb():
    plan = make_plan(random_model(SMALL, seed=1), load_config("tiny"))
    prompt, count = (3, 17, 5), 6
    data = converse(plan.machine(), question(plan, prompt, count))
    check_answers(plan, data, integer.generate(plan.model, prompt, count, 0, 0)[0])


@pytest.mark.parametrize(
    ("name", "clock", "pins"),
    [
        ("orangecrab_25f", "usb_running", ("N1", "M2", "N2")),
        ("ulx3s_85f", "usb_clock.usb_running", ("D15", "E15", "B12")),
    ],
)
def test_the_design_with_usb(tmp_path, name, clock, pins):
    board = linked(find_board(name), "usb")
    flow.write_design(board, Echo(), board.default_clock, None, tmp_path)
    design, constraints = ((tmp_path / file).read_text() for file in ("top.il", "top.lpf"))
    for line, pin in zip(("d_p", "d_n", "pullup"), pins, strict=True):
        assert f'LOCATE COMP "usb_0__{line}__io" SITE "{pin}";' in constraints
    assert f'FREQUENCY NET "{clock}" 480' in constraints
    assert "uart" not in constraints
    assert design.count("cell \\EHXPLLL") == (2 if name == "ulx3s_85f" else 1)
    assert design.count("cell \\DCCA") == 2
    assert design.count("cell \\IFS1P3DX") == 2
    assert design.count("cell \\OFS1P3DX") == 4  # each line's level and its output enable


def test_clocks_for_usb():
    for source in (25e6, 12e6, 48e6):
        assert abs(plan_usb_pll(source).frequency / 48e6 - 1) <= 2000e-6
    assert plan_usb_pll(25e6).frequency == pytest.approx(48.0769e6, rel=1e-5)
    with pytest.raises(ValueError, match="no clock for USB, 48 MHz, can be made of 100 MHz"):
        plan_usb_pll(100e6)


def test_links_that_there_are_not():
    with pytest.raises(BoardError, match="link must be uart or usb, not 'usb3'"):
        linked(BOARDS["orangecrab_25f"], "usb3")
    able = {name for name, board in BOARDS.items() if "usb" in getattr(board, "links", ())}
    assert able == {name for name in BOARDS if name.startswith(("ulx3s", "orangecrab"))}
    for name in BOARDS.keys() - able:
        with pytest.raises(BoardError, match=f"{name} has no USB at pins of its FPGA: link must"):
            linked(BOARDS[name], "usb")
        assert linked(BOARDS[name], "uart").name == name
    assert linked(BOARDS["ulx3s_85f"]) is BOARDS["ulx3s_85f"]
    assert BOARDS["orangecrab_25f"].link == "uart"  # a copy was made


def test_usb_counts_among_what_is_needed():
    board, config = BOARDS["orangecrab_85f"], Config(weight_parallelism=16, vector_lanes=4)
    alone = estimate(SMALL, config)
    assert on_board(SMALL, config, board) == alone
    more = on_board(SMALL, config, linked(board, "usb"))
    assert more.lut == alone.lut + USB_COSTS["lut"]
    assert (more.dsp, more.bram) == (alone.dsp, alone.bram)


def test_a_baud_is_of_a_serial_line():
    board = linked(BOARDS["orangecrab_25f"], "usb")
    assert flow.line_rate(board, 60) is None
    flow.check(Config(), board, 60, None)
    with pytest.raises(ConfigError, match="baud is of a serial line, and the link of orangecrab"):
        flow.check(Config(), board, 60, 1_000_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--board", "icebreaker", "--link", "usb"), "icebreaker has no USB at pins of its FPGA"),
        (("--board", "ulx3s_85f", "--link", "can"), "link must be uart or usb, not 'can'"),
    ],
)
def test_the_command_refuses(tmp_path, options, message):
    assert message in fails("build", "demo-small", *options, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_clock_of_usb_in_a_report(tmp_path):
    """The machine's clock is not the faster one of the two, but its own."""
    board = BOARDS["orangecrab_25f"]
    cells = [name for cells in board.flow.cells.values() for name in cells]
    clocks = {
        "$glbnet$running": {"achieved": 41.0, "constraint": 40.0},
        "$glbnet$usb_running": {"achieved": 47.5, "constraint": 48.0},
    }
    used = {cell: {"used": 1, "available": 2} for cell in cells}
    (tmp_path / "route.json").write_text(json.dumps({"fmax": clocks, "utilization": used}))
    found = board.flow.read_report(tmp_path / "route.json")
    assert found["fmax_mhz"] == 41.0
    assert found["usb_clock"] == {"clock_mhz": 48.0, "fmax_mhz": 47.5}
