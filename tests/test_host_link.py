import random

import pytest
from celosia.generators.verilog import to_verilog
from celosia.protocol import messages
from celosia.protocol.frames import CRC, LONGEST_FRAME, SYNC, Frame, FrameDecoder, frame
from celosia.protocol.messages import (
    Abort,
    Ack,
    AskInfo,
    AskStatus,
    Done,
    Error,
    Info,
    Kind,
    Prompt,
    Reason,
    Run,
    Status,
    Token,
    decode,
    encode,
)
from celosia.protocol.refusals import Code, refusal
from celosia.rtl.host.frame import FrameReceiver, FrameTransmitter
from celosia.rtl.host.host_link import HostLink
from celosia.sim import bench
from celosia.sim.native import NativeSimulation
from counted import CountedLink
from echo_machine import EchoMachine

INFO = Info(300, 100, 8, 4, 3, 25_000_000, b"abcdefgh", "a link")
TIMEOUT = 50


class Model:
    """What a link that is never given the end of a run does with bytes without long gaps."""

    def __init__(self, text):
        self.answers, self.prompt, self.command = [], [], []
        place = text.find(SYNC)
        while place >= 0 and place + 3 <= len(text) and place + text[place + 2] + 5 <= len(text):
            end = place + text[place + 2] + 5
            kind, good = text[place + 1], CRC.compute(text[place + 1 : end - 2])
            payload, crc = text[place + 3 : end - 2], text[end - 2 : end]
            if int.from_bytes(crc, "little") == good:
                self.answers.append(self._answer(Frame(kind, payload)))
            else:
                self.answers.append(Error(kind, Code.CRC))
            place = text.find(SYNC, end)

    def _answer(self, command):
        running = bool(self.command)
        code = refusal(command, INFO.vocab_size, INFO.max_seq_len, running)
        if code is not None:
            return Error(command.kind, code)
        message = decode(command)
        if message.kind == Kind.PROMPT:
            self.prompt += [
                {"address": message.address + index, "token": token}
                for index, token in enumerate(message.tokens)
            ]
        if message.kind == Kind.RUN:
            self.command.append(vars(message))
        special = {Kind.ASK_INFO: INFO, Kind.ASK_STATUS: Status(int(running), 0)}
        return special.get(message.kind, Ack(message.kind))


def case(text, **arguments):
    """A case for the bench in which only the host speaks, and what the link must do."""
    model = Model(text)
    size = sum(len(encode(answer)) for answer in model.answers)
    counts = {"prompt": len(model.prompt), "command": len(model.command), "tx": size}
    return {"inputs": {"rx": text}, "counts": counts} | arguments, model


def check(cases):
    """Run cases made by :func:`case` and compare everything."""
    results = bench.run_many(HostLink(INFO, TIMEOUT), [given for given, _ in cases])
    for (_, model), result in zip(cases, results, strict=True):
        assert said(result.outputs["tx"]) == model.answers
        assert result.outputs["prompt"] == model.prompt
        assert result.outputs["command"] == model.command
    return results


def said(text):
    """The messages in what a link sent, in which there is nothing else."""
    decoder = FrameDecoder()
    found = [decode(one) for one in decoder.feed(bytes(text))]
    assert b"".join(map(encode, found)) == bytes(text)
    return found


GOOD = [
    AskInfo(),
    AskStatus(),
    Prompt(5, (0, 299, 7)),
    Prompt(16, tuple(range(200, 284))),
    Prompt(99, (1,)),
    Abort(),
    AskStatus(),
]
BAD = [
    frame(0x77),
    frame(Kind.ACK, b"1"),
    frame(0, bytes(255)),
    frame(Kind.ASK_INFO, b"x"),
    frame(Kind.ABORT, bytes(3)),
    frame(Kind.ASK_STATUS, bytes(18)),
    frame(Kind.PROMPT),
    frame(Kind.PROMPT, bytes(2)),
    frame(Kind.PROMPT, bytes(3)),
    frame(Kind.PROMPT, bytes(7)),
    frame(Kind.RUN, bytes(17)),
    frame(Kind.RUN, bytes(19)),
    frame(Kind.RUN, bytes(21)),
    encode(Prompt(100, (1,))),
    encode(Prompt(2**24 - 1, (1,))),
    encode(Prompt(17, (1,) * 84)),
    encode(Prompt(0, (1, 300, 1))),
    encode(Prompt(0, (2**20,))),
    encode(Run(0, 0, 1, 300, 0, 0)),
    encode(Run(0, 1, 0, 300, 0, 0)),
    encode(Run(99, 1, 2, 300, 0, 0)),
    encode(Run(0, 101, 1, 300, 0, 0)),
    encode(Run(0, 1, 101, 300, 0, 0)),
    encode(Run(2**24 - 1, 2**24 - 1, 2**24 - 1, 300, 0, 0)),
    encode(Run(2**24 - 1, 1, 2, 300, 0, 0)),
    encode(Run(0, 1, 1, 301, 0, 0)),
    encode(Run(0, 1, 1, 300, 4096, 0)),
]
RUNS = [
    Run(0, 1, 100, 300, 4095, 2**32 - 1),
    Run(99, 1, 1, 0, 1, 0x12345678),
    Run(10, 90, 1, 17, 256, 1),
]


def test_commands_and_refusals():
    good = b"".join(map(encode, GOOD))
    bad = b"".join(BAD)
    again = encode(Prompt(1, (2,))) + encode(RUNS[0]) + encode(Abort()) + encode(AskStatus())
    cases = [case(good + bad + good, stall=stall, seed=1) for stall in (0, 0.5)]
    cases += [
        case(b"".join(BAD) + encode(run) + again, stall=stall, seed=2)
        for run in RUNS
        for stall in (0, 0.5)
    ]
    results = check(cases)
    assert {code for a in cases[0][1].answers if isinstance(a, Error) for code in [a.code]} == {
        *range(3, 12)
    } - {Code.BUSY}
    assert Error(Kind.PROMPT, Code.BUSY) in cases[-1][1].answers
    assert [result.signals["abort"] for result in results] == [0, 0, 1, 1, 1, 1, 1, 1]


def test_busy_machine():
    text = b"".join(map(encode, [Prompt(0, (1,)), RUNS[0], AskInfo(), Abort(), AskStatus()]))
    arguments = {"inputs": {"rx": text}, "settings": {"busy": 1}}
    answers = [Error(2, Code.BUSY), Error(3, Code.BUSY), INFO, Ack(4), Status(1, 0)]
    size = sum(len(encode(answer)) for answer in answers)
    counts = {"prompt": 0, "command": 0, "tx": size}
    result = bench.run(CountedLink(INFO, TIMEOUT), counts=counts, **arguments)
    assert said(result.outputs["tx"]) == answers
    assert result.signals["abort"] == 0


def test_flipped_bits():
    text = encode(Prompt(3, (4, 5)))
    broken = bytearray()
    for bit in range(8, 8 * len(text)):
        if bit // 8 != 2:  # the length: the frame would go on into the next one
            copy = bytearray(text)
            copy[bit // 8] ^= 1 << bit % 8
            broken += copy
    given = case(bytes(broken) + encode(AskInfo()))
    assert {answer.code for answer in given[1].answers[:-1]} == {Code.CRC}
    assert given[1].answers[-1] == INFO
    assert given[1].prompt == []
    check([given])


def test_garbage():
    ask = encode(AskInfo())
    noise = bytes(byte for byte in range(256) if byte != SYNC)
    cut = bytes([SYNC, Kind.PROMPT, 8]) + ask + ask + ask
    cases = [case(noise + ask + noise + ask), case(cut), case(ask[:-2] + b"xy" + ask)]
    assert cases[1][1].answers == [Error(Kind.PROMPT, Code.CRC), INFO]
    check(cases)


def mutated(chooser, frames):
    """Frames of which some are cut, repeated, changed, or preceded by noise."""
    text = bytearray()
    for one in frames:
        kind = chooser.randrange(6)
        if kind == 0:
            one = one[: chooser.randrange(len(one))]
        elif kind == 1:
            one = bytearray(one)
            one[chooser.randrange(len(one))] ^= 1 << chooser.randrange(8)
        elif kind == 2:
            text += bytes(chooser.choices([SYNC, 0, 1, 2, 3, 5, 77, 255], k=chooser.randrange(9)))
        text += one
    return bytes(text)


@pytest.mark.parametrize("stall", [0, 0.5])
def test_fuzz(stall):
    chooser = random.Random(f"{stall}")
    pool = [*map(encode, GOOD * 4), *BAD, *map(encode, RUNS)]
    cases = []
    for seed in range(4):
        text = mutated(chooser, chooser.choices(pool, k=60))
        cases.append(case(text + bytes(LONGEST_FRAME) + encode(AskInfo()), stall=stall, seed=seed))
    for seed in range(3):
        noise = bytes(chooser.choices([SYNC, *range(0, 256, 5)], k=2000))
        cases.append(case(noise + bytes(LONGEST_FRAME) + encode(AskInfo()), stall=stall, seed=seed))
    assert all(model.answers[-1] == INFO for _, model in cases)
    assert sum(len(model.prompt) for _, model in cases) > 100
    assert sum(bool(model.command) for _, model in cases) > 1
    check(cases)


@pytest.mark.parametrize("stall", [0, 0.5])
def test_tokens_and_ends(stall):
    chooser = random.Random(3)
    results = [
        {"token": chooser.randrange(2**20), "cycles": chooser.randrange(2**32)} for _ in range(30)
    ]
    ends = [
        {"reason": reason, "counters": [chooser.randrange(2**32) for _ in range(3)]}
        for reason in (0, 1, 2)
    ]
    commands = [Prompt(5, (0, 299)), AskInfo()] * 6
    answers = [Ack(Kind.PROMPT), INFO] * 6
    size = sum(len(encode(answer)) for answer in answers) + 30 * 12 + 3 * (5 + 4 + 12)
    counts = {"prompt": 12, "command": 0, "tx": size}
    inputs = {"rx": b"".join(map(encode, commands)), "result": results, "done": ends}
    result = bench.run(CountedLink(INFO, TIMEOUT), inputs, counts, stall=stall, seed=5)
    found = said(result.outputs["tx"])
    assert [m for m in found if not isinstance(m, Token | Done)] == answers
    assert [vars(m) for m in found if isinstance(m, Token)] == results
    given = [m for m in found if isinstance(m, Done)]
    assert [(m.reason, m.counters) for m in given] == [
        (end["reason"], tuple(end["counters"])) for end in ends
    ]
    for index, message in enumerate(found):
        if isinstance(message, Done):
            assert message.tokens == sum(isinstance(m, Token) for m in found[:index])
    if not stall:
        assert [type(m) for m in found[-3:]] == [Done] * 3


def test_latency_and_throughput():
    link = CountedLink(INFO, TIMEOUT)
    quiet = {"prompt": 0, "command": 0, "tx": None}
    token = {"token": 1, "cycles": 2}
    end = {"reason": 0, "counters": [1, 2, 3]}
    speak = {"inputs": {"result": [token] * 5, "done": [end]}, "counts": quiet | {"tx": 81}}
    ask = {"inputs": {"rx": encode(AskInfo())}, "counts": quiet | {"tx": len(encode(INFO))}}
    tokens = encode(Prompt(0, tuple(range(84))))
    prompt = {"inputs": {"rx": tokens}, "counts": quiet | {"tx": 6, "prompt": 84}}
    many = b"".join(map(encode, [Prompt(0, (1,))] * 20))
    busy = {"inputs": {"rx": many}, "counts": quiet | {"tx": 120, "prompt": 20}}
    spoken, asked, prompted, stream = bench.run_many(link, [speak, ask, prompt, busy])
    assert spoken.stream_cycles["tx"] == [*range(1, 82)]
    assert spoken.stream_cycles["result"] == [0, 11, 23, 35, 47]
    assert spoken.stream_cycles["done"] == [79]
    last = asked.last_cycle["rx"]
    assert asked.stream_cycles["tx"] == [*range(last + 4, last + 4 + len(encode(INFO)))]
    last = prompted.last_cycle["rx"]
    assert prompted.first_cycle["tx"] == last + 4 + 2 * 84
    assert stream.cycles < len(many) * 1.7


@pytest.fixture(scope="module")
def echo():
    return to_verilog(EchoMachine(timeout=TIMEOUT))


@pytest.mark.parametrize("size", range(1, 14))
def test_interrupted_frames(echo, size):
    text = encode(Prompt(0, (1, 2)))
    with NativeSimulation(echo) as chip:

        def hear(cycles):
            chip.step(cycles, until_tx=None)
            return said(chip.received())

        for _ in range(2):
            chip.send(text[:size])
            assert hear(size + TIMEOUT - 1) == []
            chip.send(text[size:])
            assert hear(100) == [Ack(Kind.PROMPT)]
        chip.send(text[:size])
        assert hear(size + TIMEOUT) == []
        chip.send(encode(AskStatus()))
        kind = 0 if size < 2 else Kind.PROMPT
        assert hear(100) == [Error(kind, Code.TRUNCATED), Status(0, 0)]


def test_runs_under_way(echo):
    with NativeSimulation(echo) as chip:
        decoder = FrameDecoder()

        def hear(*commands):
            for command in commands:
                chip.send(encode(command))
            chip.step(200, until_tx=None)
            return [decode(one) for one in decoder.feed(chip.received())]

        end = Done(Reason.COUNT, 2, (2, 3, 4))
        first = hear(Prompt(0, (7,)), Run(0, 1, 2, 300, 3, 4))
        assert [*map(type, first)] == [Ack, Ack, Token, Token, Done]
        assert first[-1] == end
        hear(Run(0, 1, 150, 300, 0, 0))
        found = hear(Prompt(0, (7,)), Run(0, 1, 1, 300, 0, 0), AskStatus())
        found = [message for message in found if not isinstance(message, Token)]
        assert found[:2] == [Error(Kind.PROMPT, Code.BUSY), Error(Kind.RUN, Code.BUSY)]
        assert found[2].busy == 1
        *some, last = hear(Abort())
        assert last.reason == Reason.ABORTED
        assert sum(not isinstance(message, Token) for message in some) == 1
        assert hear(Abort(), AskStatus()) == [Ack(Kind.ABORT), Status(0, last.tokens)]
        again = hear(Run(0, 1, 2, 300, 3, 4))
        assert [*map(type, again)] == [Ack, Token, Token, Done]
        assert again[-1] == end


def test_limits_of_parameters():
    for n_counters, name in [(0, ""), (62, "n" * 64)]:
        info = Info(2**20 - 1, 2**20 - 1, n_counters=n_counters, name=name)
        counters = [*range(2**32 - n_counters, 2**32)]
        last = Prompt(2**20 - 2, (2**20 - 2,))
        run = Run(0, 2**20 - 1, 1, 2**20 - 1, 0, 0)
        answers = [info, Ack(Kind.PROMPT), Ack(Kind.RUN)]
        end = Done(Reason.STOP, 0, tuple(counters))
        result = bench.run(
            CountedLink(info, 1000),
            {
                "rx": b"".join(map(encode, [AskInfo(), last, run])),
                "done": [{"reason": 1, "counters": counters}],
            },
            {"prompt": 1, "command": 1, "tx": sum(len(encode(m)) for m in [*answers, end])},
        )
        found = said(result.outputs["tx"])
        assert len(found) == 4
        assert set(found) == {*answers, end}
        assert result.outputs["prompt"] == [{"address": 2**20 - 2, "token": 2**20 - 2}]
        assert result.outputs["command"] == [vars(run)]


@pytest.mark.parametrize("stall", [0, 0.5])
def test_transmitter(stall):
    chooser = random.Random(7)
    sizes = [0, 1, 255, 0, 3, 2]
    frames = [Frame(chooser.randrange(256), chooser.randbytes(size)) for size in sizes]
    heads = [{"kind": one.kind, "length": len(one.payload)} for one in frames]
    text = b"".join(frame(*one) for one in frames)
    inputs = {"frame": heads, "data": b"".join(one.payload for one in frames)}
    result = bench.run(FrameTransmitter(), inputs, len(text), stall=stall)
    assert bytes(result.outputs["o"]) == text
    if not stall:
        assert result.stream_cycles["o"] == [*range(len(text))]


def test_parameters():
    with pytest.raises(ValueError, match="info must be an Info, not b'info'"):
        HostLink(b"info", 100)
    with pytest.raises(ValueError, match=r"timeout must be from 1 to 2\*\*32 - 1, not 0"):
        HostLink(INFO, 0)
    with pytest.raises(ValueError, match=r"timeout must be from 1 to 2\*\*32 - 1, not 0"):
        FrameReceiver(0)


def test_sizes_in_the_docstrings():
    assert len(encode(Token(0, 0))) == 12
    assert messages.PROMPT_TOKENS == 84
