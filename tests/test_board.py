"""Boards: clocks, estimates and refusals, the stages of a build, and chats."""

import io
import json
import re
import shutil
import stat
import zlib
from dataclasses import replace

import pytest
from celosia.boards import build as flow
from celosia.boards.catalog import BOARDS, BoardError, find_board
from celosia.boards.chat import Chat
from celosia.boards.ecp5 import Ecp5Flow
from celosia.boards.estimate import check_fit, estimate, fitting_config, smallest_config
from celosia.boards.pll import plan_pll
from celosia.boards.serial_port import SerialTransport
from celosia.boards.tape_file import read_tape, write_tape
from celosia.generators.config import Config, ConfigError, load_config
from celosia.generators.plan import make_plan
from celosia.protocol import messages
from celosia.protocol.frames import FrameDecoder
from celosia.reference.model import ModelConfig, random_model
from celosia.sim.driver import DriverError
from celosia.sim.toolchain import ToolError

STORIES = ModelConfig(
    dim=64, hidden_dim=172, n_layers=5, n_heads=8, n_kv_heads=4, head_dim=8, vocab_size=512,
    seq_len=512, tied=True,
)  # fmt: skip
SMALL = ModelConfig(
    dim=16, hidden_dim=24, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, vocab_size=37,
    seq_len=24, tied=True,
)  # fmt: skip


@pytest.fixture
def plan():
    return make_plan(random_model(SMALL, seed=1), load_config("tiny"))


@pytest.mark.parametrize("megahertz", [25, 50, 60, 66, 75, 80, 85, 90, 95, 100, 110, 133])
def test_pll_keeps_to_its_ranges(megahertz):
    pll = plan_pll(25e6, megahertz * 1e6)
    assert 0.98 * megahertz * 1e6 <= pll.frequency <= megahertz * 1e6
    assert 400e6 <= 25e6 * pll.multiply <= 800e6
    assert pll.frequency == 25e6 * pll.multiply / pll.divide


@pytest.mark.parametrize("megahertz", [1, 900])
def test_pll_cannot(megahertz):
    with pytest.raises(ValueError, match=f"no clock of {megahertz} MHz can be made of 25 MHz"):
        plan_pll(25e6, megahertz * 1e6)


def test_unknown_names():
    with pytest.raises(BoardError, match=r"board must be one of ulx3s_12f, .*, not 'arty'"):
        find_board("arty")


def test_estimate_counts_multiplier_blocks():
    # The fabric's, and per lane: scale 2, rope 2, gate 2, norm 1.
    config = Config(weight_parallelism=128, vector_lanes=4, max_seq_len=256)
    found = estimate(STORIES, config)
    assert found.dsp == 128 + 28
    # Synthesis found 201 block RAMs and about 44,000 LUTs; the estimate may not be below.
    assert 201 <= found.bram <= 208
    assert 40_000 <= found.lut <= 60_000


def test_what_fits_the_largest_board():
    config = fitting_config(STORIES, BOARDS["ulx3s_85f"])
    assert (config.weight_parallelism, config.vector_lanes) == (128, 4)
    assert (config.weight_width, config.max_seq_len) == (8, 256)


def test_refusal_names_numbers_and_the_nearest_configuration():
    with pytest.raises(BoardError) as refused:
        check_fit(STORIES, Config(weight_parallelism=256, vector_lanes=8), BOARDS["ulx3s_85f"])
    text = str(refused.value)
    assert "the machine of 256 weights a cycle does not fit ulx3s_85f" in text
    assert "multiplier blocks: 312 needed, 156 available" in text
    assert "--set weight_parallelism=128 --set vector_lanes=4 --set weight_width=8" in text


def test_a_tape_in_the_sdram_takes_no_block_ram():
    config = Config(weight_parallelism=32, vector_lanes=4, max_seq_len=256)
    there = Config(weight_parallelism=32, vector_lanes=4, max_seq_len=256, memory="sdram")
    saved = estimate(STORIES, config).bram - estimate(STORIES, there).bram
    assert saved > 100
    large = ModelConfig(
        dim=320, hidden_dim=864, n_layers=8, n_heads=8, n_kv_heads=2, head_dim=40, vocab_size=4096,
        seq_len=128, tied=True,
    )  # fmt: skip
    config, there = (replace(one, max_seq_len=128) for one in (config, there))
    with pytest.raises(BoardError, match=r"nearest configuration that fits: .*memory=sdram"):
        check_fit(large, config, BOARDS["ulx3s_85f"])
    assert fitting_config(large, BOARDS["ulx3s_85f"]).memory == "sdram"
    with pytest.raises(BoardError, match="No configuration of this model fits ecpix5_85f"):
        check_fit(large, config, BOARDS["ecpix5_85f"])
    found = fitting_config(large, BOARDS["ulx3s_85f"], there)
    assert found.memory == "sdram"
    huge = replace(large, vocab_size=200_000)
    with pytest.raises(
        BoardError, match=r"bytes of SDRAM: 72,\d+,\d+ needed, 33,554,432 available"
    ):
        check_fit(huge, there, BOARDS["ulx3s_85f"])
    wide = Config(weight_parallelism=1024, vector_lanes=8, max_seq_len=64, memory="sdram")
    with pytest.raises(BoardError, match=r"nearest configuration that fits: .*memory=sdram"):
        check_fit(large, wide, BOARDS["ulx3s_85f"])


def test_memory_that_a_board_lacks():
    with pytest.raises(BoardError, match="ulx3s_85f has no AXI memory: memory must be on_chip or"):
        check_fit(STORIES, Config(memory="axi"), BOARDS["ulx3s_85f"])
    match = "ecpix5_45f has no SDRAM memory: memory must be on_chip"
    with pytest.raises(BoardError, match=match):
        check_fit(STORIES, Config(memory="sdram"), BOARDS["ecpix5_45f"])
    for setting in ({"kv_memory": "axi"}, {"control": "axi_lite"}):
        with pytest.raises(BoardError, match="has no AXI bus: kv_memory must be on_chip"):
            check_fit(STORIES, Config(**setting), BOARDS["ulx3s_85f"])


def test_refusal_where_nothing_fits():
    match = "block RAMs: .* No configuration of this model fits orangecrab_25f"
    with pytest.raises(BoardError, match=match):
        check_fit(STORIES, Config(weight_parallelism=64), BOARDS["orangecrab_25f"])
    with pytest.raises(LookupError):
        fitting_config(STORIES, BOARDS["orangecrab_25f"])
    assert fitting_config(STORIES, BOARDS["ulx3s_25f"]).memory == "sdram"
    for name, board in BOARDS.items():
        try:
            fitting_config(STORIES, board)
        except LookupError:
            match = (
                rf"of 16 weights .* does not fit {name}: .*block RAMs: \d+ needed, \d+ available"
            )
            with pytest.raises(BoardError, match=match):
                check_fit(STORIES, smallest_config(STORIES, board), board)


FAKE = """#!/bin/sh
if [ "$1" = --version ]; then echo "{name} 0.99"; exit; fi
echo "{name} $*" >> {folder}/calls
case {name} in
yosys)
  if [ -e synthesis.ys ]; then echo '{{}}' > top.json; fi
  if [ -e count.ys ]; then echo '{{"design": {{"num_cells_by_type": {{}}}}}}' > count.json; fi ;;
nextpnr-ecp5)
  for argument; do
    case $argument in
    *.config) echo routed > $argument ;;
    route*.json) cp {folder}/report-$argument $argument ;;
    esac
  done ;;
ecppack) echo bits > top.bit ;;
esac
"""


@pytest.fixture
def fake_tools(tmp_path, monkeypatch):
    """Tools on the PATH that only say what they were asked; a list of it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("yosys", "nextpnr-ecp5", "ecppack"):
        path = folder / name
        path.write_text(FAKE.format(name=name, folder=folder))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    cell = {"used": 1, "available": 2}
    for seed, speed in ((1, 61.5), (2, 83.25)):
        clocks = {
            "$glbnet$clk": {"achieved": speed, "constraint": 80.0},
            "clk25": {"achieved": 300.0, "constraint": 25.0},
        }
        names = [name for cells in Ecp5Flow.cells.values() for name in cells]
        report = {"fmax": clocks, "utilization": dict.fromkeys(names, cell)}
        (folder / f"report-route{seed}.json").write_text(json.dumps(report))
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def calls():
        log = folder / "calls"
        return [x.split()[0] for x in log.read_text().splitlines()] if log.exists() else []

    return calls


@pytest.fixture
def small_design(monkeypatch):
    """In place of a board's top, which takes long to make, a text that depends on the clock."""

    def write(board, machine, megahertz, baud, folder):
        for name in board.flow.files:
            (folder / name).write_text(f"{name} {megahertz} {baud}\n")

    monkeypatch.setattr(flow, "write_design", write)


@pytest.mark.usefixtures("small_design")
def test_stages_are_not_repeated(plan, tmp_path, fake_tools):
    out = tmp_path / "out"
    said = []
    options = {"megahertz": 80, "seeds": 3, "say": said.append}
    result = flow.build(plan, BOARDS["ulx3s_85f"], out, **options)
    assert fake_tools() == ["yosys", "nextpnr-ecp5", "nextpnr-ecp5", "ecppack"]
    assert (result["seed"], result["fmax_mhz"], result["clock_mhz"]) == (2, 83.25, 80)
    assert result["dsp"] == {"used": 1, "available": 2}
    assert (out / "top.bit").is_file()

    flow.build(plan, BOARDS["ulx3s_85f"], out, **options)
    assert len(fake_tools()) == 4  # nothing again
    (out / "route1.config").unlink()
    flow.build(plan, BOARDS["ulx3s_85f"], out, **options)
    assert fake_tools()[4:] == ["nextpnr-ecp5"]
    flow.build(plan, BOARDS["ulx3s_85f"], out, **options | {"megahertz": 60})
    assert fake_tools()[5:] == ["yosys", "nextpnr-ecp5", "ecppack"]  # another clock, other files


@pytest.mark.usefixtures("small_design")
def test_a_missed_clock_is_a_failure(plan, tmp_path, fake_tools):
    options = {"megahertz": 80, "say": lambda text: None}
    message = (
        r"best of 1 placements reaches 61.50 MHz, not 80.* \(yosys is 0.99, the figures' 0.70, "
        r"nextpnr-ecp5 is 0.99, the figures' 0.11\)$"
    )
    with pytest.raises(flow.TimingError, match=message):
        flow.build(plan, BOARDS["ulx3s_85f"], tmp_path / "out", **options)
    result = flow.build(plan, BOARDS["ulx3s_85f"], tmp_path / "out", allow_fail=True, **options)
    assert result["fmax_mhz"] == 61.5
    assert fake_tools() == ["yosys", "nextpnr-ecp5", "ecppack"]


@pytest.mark.usefixtures("small_design")
def test_a_tool_that_fails(plan, tmp_path, fake_tools):
    (tmp_path / "bin" / "yosys").write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo 0.99 && exit\necho no such thing\nexit 3\n"
    )
    with pytest.raises(ToolError, match=r"synthesis failed \(3\).*\n.*no such thing"):
        flow.build(plan, BOARDS["ulx3s_85f"], tmp_path / "out", megahertz=80, say=[].append)


@pytest.mark.slow
def test_the_design_is_the_same_every_time(plan, tmp_path):
    board = BOARDS["ulx3s_45f"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        flow.write_design(board, plan.machine(), 80, 1_000_000, tmp_path / name)
    for name in ("top.il", "top.lpf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    constraints = (tmp_path / "a" / "top.lpf").read_text()
    assert 'FREQUENCY NET "running" 80000000.0 HZ;' in constraints
    assert 'LOCATE COMP "uart_0__rx__io" SITE "M1";' in constraints
    design = (tmp_path / "a" / "top.il").read_text()
    assert "EHXPLLL" in design
    blocks = plan.shape.multipliers + 7 * plan.shape.lanes
    assert design.count("cell \\MULT18X18D") == blocks


def test_the_design_with_sdram(tmp_path):
    plan = make_plan(random_model(SMALL, seed=1), load_config("tiny", ["memory=sdram"]))
    flow.write_design(BOARDS["ulx3s_85f"], plan.machine(), 80, 1_000_000, tmp_path)
    design, pins = ((tmp_path / name).read_text() for name in ("top.il", "top.lpf"))
    assert design.count("ODDRX1F") == 1  # the chip's clock
    out = 1 + 4 + 2 + 13 + 2 + 16  # each with a register for its output enable
    assert design.count("cell \\OFS1P3DX") == 2 * out + 1
    assert design.count("cell \\IFS1P3DX") == 16
    assert re.search(r"CLKOS2_CPHASE[^0-9]+7$", design, re.MULTILINE)  # 5 - 1, and 3 steps later
    assert 'LOCATE COMP "sdram_0__clk__io" SITE "F19";' in pins


@pytest.mark.parametrize(
    ("board", "pin"),
    [
        ("ulx3s_85f", '"spi_flash_0__cipo__io" SITE "V2";'),
        ("icesugar_pro", '"spi_flash_1x_0__cipo__io" SITE "T7";'),
    ],
)
def test_the_design_with_flash(tmp_path, board, pin):
    plan = make_plan(
        random_model(SMALL, seed=1), load_config("tiny", ["memory=sdram", "boot=flash"])
    )
    flow.write_design(BOARDS[board], plan.machine(), 80, 1_000_000, tmp_path)
    design, pins = ((tmp_path / name).read_text() for name in ("top.il", "top.lpf"))
    assert design.count("cell \\USRMCLK") == 1
    assert f"LOCATE COMP {pin}" in pins
    assert "__clk__io" not in re.sub("sdram_0__clk__io", "", pins)  # the flash's has no pin
    write_tape(plan, tmp_path)
    assert read_tape(tmp_path)[1].flash_offset == 1 << 21


def test_no_port():
    with pytest.raises(DriverError, match="/dev/nothing cannot be opened"):
        SerialTransport("/dev/nothing", 1_000_000)


def test_a_board_that_is_unplugged():
    line = SerialTransport("loop://", 1_000_000)
    line.send(b"abc")
    assert line.receive(1) == b"abc"
    assert line.receive(0.01) == b""
    line.close()
    with pytest.raises(DriverError, match="the board at loop:// is gone"):
        line.send(b"abc")


class Letters:
    """A tokenizer of 37 letters."""

    vocab_size, bos, eos, stop, chat = 37, 0, 36, {36}, None

    def encode(self, text):
        return [0, *(ord(c) - 96 for c in text)]

    def decode(self, tokens):
        return "".join(chr(96 + t) for t in tokens[1:])

    def stream(self, previous):
        return lambda token: "" if token is None else chr(96 + token) if token < 27 else "?"


def test_chat(plan):
    from celosia.generators.verilog import to_verilog
    from celosia.reference import integer
    from celosia.sim.native import NativeSimulation
    from celosia.sim.native_transport import NativeTransport

    simulation = NativeSimulation(to_verilog(plan.machine()), ())
    chat = Chat(NativeTransport(simulation), Letters(), 5, 0.0, 0)
    output = io.StringIO()
    chat.loop(["abc\n", "/status\n", "/what\n", "a" * 30 + "\n", "/reset\n", "/quit\n"], output)
    tokens, _ = integer.generate(plan.model, [0, 1, 2, 3], 5, 0, 0)
    lines = output.getvalue().splitlines()
    feed = Letters().stream(3)
    assert lines[0] == "abc" + "".join(feed(t) for t in tokens)
    assert lines[1].startswith("[5 tokens, ")
    assert lines[2:] == [
        "ready, 5 tokens given",
        "commands: /reset, /status, /quit",
        "too long: 31 tokens",
        "ready",
    ]
    assert chat.greeting() == f"{plan.info.name}: 8 weights a cycle, 24 positions"


@pytest.mark.slow
@pytest.mark.parametrize("boot", ["host", "flash"])
def test_chat_with_a_simulated_sdram(monkeypatch, boot):
    from celosia.reference import checkpoint, integer
    from typer.testing import CliRunner

    from celosia.cli import app

    model = replace(random_model(SMALL, seed=1), tokenizer=Letters())
    monkeypatch.setattr(checkpoint, "load", lambda *_: model)
    settings = ("--set", "memory=sdram", "--set", f"boot={boot}", "--tokens", "5")
    words = ["chat", "m", "--simulated", "--config", "tiny", *settings]
    done = CliRunner().invoke(app, words, input="abc\n/status\n/quit\n")
    assert done.exit_code == 0, done.output
    plan = make_plan(model, load_config("tiny"))
    tokens, _ = integer.generate(plan.model, [0, 1, 2, 3], 5, 0, 0)
    lines = done.stdout.splitlines()
    assert lines[2] == "abc" + "".join(map(Letters().stream(3), tokens))
    assert lines[4] == "ready, 5 tokens given"


@pytest.mark.slow
def test_chat_by_a_template_with_a_simulated_machine(tmp_path):
    """Two turns; each answer is the integer reference's, to the whole conversation until then."""
    from celosia.generators.automatic import choose_config
    from celosia.reference import checkpoint, integer
    from celosia.reference.checkpoint.known import KNOWN
    from typer.testing import CliRunner

    from celosia.cli import app

    folder = tmp_path / "talks"
    shutil.copytree(KNOWN["demo"], folder)
    text = "{% for m in messages %}{{ m.role | upper }}:\n{{ m.content }}\n{% endfor %}KING:\n"
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": text}))
    questions = ["Who is there?", "And the crown?"]
    words = ["chat", str(folder), "--simulated", "--tokens", "12"]
    done = CliRunner().invoke(app, words, input="\n".join([*questions, "/quit\n"]))
    assert done.exit_code == 0, done.output
    model = checkpoint.load(folder)
    plan = make_plan(model, choose_config(model, "auto", [])[0])
    said = [line for line in done.stdout.splitlines()[2:] if not line.startswith("[")]
    talk = []
    for question in questions:
        talk.append({"role": "user", "content": question})
        prompt = model.tokenizer.encode(model.tokenizer.chat.render(talk), bos=False)
        tokens, _ = integer.generate(plan.model, prompt, 12)
        talk.append({"role": "assistant", "content": model.tokenizer.decode(tokens)})
    assert said == [line for each in talk[1::2] for line in each["content"].splitlines()]


def test_chat_with_the_wrong_tokenizer(plan):
    from celosia.generators.verilog import to_verilog
    from celosia.sim.native import NativeSimulation
    from celosia.sim.native_transport import NativeTransport

    class Other(Letters):
        vocab_size = 36

    simulation = NativeSimulation(to_verilog(plan.machine()), ())
    with pytest.raises(DriverError, match="the machine's model has 37 tokens, this one 36"):
        Chat(NativeTransport(simulation), Other(), 5, 0.0, 0)


@pytest.mark.usefixtures("small_design")
def test_build_reports(tmp_path, fake_tools, monkeypatch):
    from celosia.reference import checkpoint
    from typer.testing import CliRunner

    from celosia.cli import app

    monkeypatch.setattr(checkpoint, "load", lambda *_: random_model(SMALL, seed=1))
    out = tmp_path / "out"
    words = ["build", "m", "--board", "ulx3s_85f", "--config", "tiny", "-o", str(out)]
    done = CliRunner().invoke(app, [*words, "--seeds", "2", "--json", str(tmp_path / "r.json")])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "r.json").read_text())
    assert report == json.loads((out / "report.json").read_text())
    keys = "board model config clock_mhz fmax_mhz lut ff dsp bram cycles_per_token bitstream"
    assert {*keys.split(), "tokens_per_second", "multipliers", "utilisation"} <= report.keys()
    assert (report["multipliers"], report["position"]) == (8, 23)
    assert report["tokens_per_second"] == 80e6 / report["cycles_per_token"]
    assert 0 < report["utilisation"] < 1

    done = CliRunner().invoke(app, words)  # one placement misses the clock
    assert done.exit_code == 4
    assert "reaches 61.50 MHz, not 80.00 MHz" in done.output
    assert not (out / "report.json").exists()  # that of the build before

    words[3:] = ["arty_a7_100", "--config", "tiny", "--clock", "80", "-o", str(tmp_path / "a")]
    done = CliRunner().invoke(app, words)  # Vivado is not there
    assert done.exit_code == 0, done.output
    second = json.loads((tmp_path / "a" / "report.json").read_text())
    assert second.keys() == report.keys()
    assert second["cycles_per_token"] == report["cycles_per_token"]
    for name in ("bitstream", "fmax_mhz", "tokens_per_second"):
        assert second[name] is None
    assert "vivado is not on the PATH" in second["notes"][0]


@pytest.fixture
def tape(tmp_path):
    plan = make_plan(random_model(SMALL, seed=1), load_config("tiny", ["memory=sdram"]))
    write_tape(plan, tmp_path)
    return plan, tmp_path


def test_tape_file(tape):
    plan, folder = tape
    image, record = read_tape(folder)
    assert image == plan.images()[0].tobytes()
    assert record.model_hash == plan.info.model_hash.hex()


def test_bad_tape_files(tape):
    _, folder = tape
    image = (folder / "tape.bin").read_bytes()
    (folder / "tape.bin").write_bytes(image[:-1])
    with pytest.raises(ConfigError, match=r"tape.bin has 4,\d+ bytes, not 4,\d+: build it anew"):
        read_tape(folder)
    (folder / "tape.bin").write_bytes(image[:-1] + bytes([image[-1] ^ 1]))
    with pytest.raises(ConfigError, match=r"tape\.bin has a wrong checksum: build it anew"):
        read_tape(folder)
    for text in ("{}", "[]", '{"bytes": 1, "crc32": "x", "model_hash": ""}', "?"):
        (folder / "tape.json").write_text(text)
        with pytest.raises(ConfigError, match=r"tape\.json is not what celosia build writes"):
            read_tape(folder)
    (folder / "tape.json").unlink()
    with pytest.raises(ConfigError, match="holds no tape: celosia build --set memory=sdram writes"):
        read_tape(folder)


class Memory:
    """A transport to a machine that is nothing but a memory, with an Info."""

    def __init__(self, info):
        self.info = info
        self.memory = bytearray(1 << 16)
        self.decoder = FrameDecoder()
        self.said = b""

    def send(self, data):
        for frame in self.decoder.feed(data):
            message = messages.decode(frame)
            answer = messages.Ack(frame.kind)
            if isinstance(message, messages.Load):
                end = message.address + len(message.data)
                self.memory[message.address : end] = message.data
            if isinstance(message, messages.Check):
                part = self.memory[message.address : message.address + message.length]
                answer = messages.Checksum(zlib.crc32(part))
            if isinstance(message, messages.AskInfo):
                answer = self.info
            if isinstance(message, messages.AskStatus):
                answer = messages.Status(0, 0)
            self.said += messages.encode(answer)

    def receive(self, timeout):
        said, self.said = self.said, b""
        return said

    def close(self):
        pass


def test_load(tape, monkeypatch):
    from typer.testing import CliRunner

    from celosia.cli import app

    plan, folder = tape
    board = Memory(plan.info)
    monkeypatch.setattr("celosia.boards.serial_port.SerialTransport", lambda *_: board)
    size = len(plan.images()[0])
    for sent in (size, 0):
        done = CliRunner().invoke(app, ["load", str(folder), "--port", "p"])
        assert done.exit_code == 0, done.output
        assert f"{size:,} bytes are in the memory, {sent:,} of them sent now" in done.output
    assert board.memory.startswith(plan.images()[0].tobytes())
    board.info = replace(plan.info, model_hash=b"12345678")
    done = CliRunner().invoke(app, ["load", str(folder), "--port", "p"])
    assert done.exit_code != 0
    assert "the board's machine is of another model (3132333435363738, not" in done.output
