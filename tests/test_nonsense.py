"""A board that talks nonsense gets a DriverError, and never anything else."""

import io
import random
import zlib

import pytest
from celosia.boards.chat import Chat
from celosia.protocol import messages
from celosia.protocol.frames import FrameDecoder, frame
from celosia.protocol.messages import (
    Ack,
    Checksum,
    Done,
    Error,
    Info,
    Kind,
    Reason,
    Status,
    Token,
    encode,
)
from celosia.sim.driver import Driver, DriverError
from celosia.sim.loader import load_memory
from celosia.sim.transport import Clock

INFO = Info(37, 24, n_counters=3)
IMAGE = bytes(300)
KINDS = [*Kind]


class Liar:
    """A transport to a board whose answers ``spoil`` changes; time passes by asking for bytes."""

    def __init__(self, spoil):
        self.time = 0.0
        self.clock = Clock(lambda: self.time, "s", answer=0.1, byte=1e-6)
        self._spoil = spoil
        self._decoder = FrameDecoder()
        self._says = b""

    def send(self, data):
        for command in self._decoder.feed(data):
            self._says += b"".join(map(self._spoil, self._answers(command)))

    def receive(self, timeout):
        says, self._says = self._says[:200], self._says[200:]
        self.time += 0.001 if says else max(timeout, 1e-3)
        return says

    def _answers(self, command):
        if command.kind == Kind.ASK_INFO:
            return [INFO]
        if command.kind == Kind.ASK_STATUS:
            return [Status(0, 2)]
        if command.kind == Kind.CHECK:
            return [Checksum(zlib.crc32(IMAGE))]
        tokens = [Token(5, 1), Token(6, 2), Done(Reason.COUNT, 2, (9, 9, 9))]
        return [Ack(command.kind), *(tokens if command.kind == Kind.RUN else [])]


class Letters:
    """A tokenizer of 37 letters, which knows no others."""

    vocab_size, bos, eos, stop, chat = 37, None, None, (), None
    letters = "abcdefghijklmnopqrstuvwxyz0123456789."

    def encode(self, text):
        return [self.letters.index(c) for c in text]

    def decode(self, tokens):
        return "".join(self.letters[t] for t in tokens)

    def stream(self, previous):
        return lambda token: "" if token is None else self.letters[token]


def spoiler(chooser):
    """A function that now and then makes an answer something else: in a good frame, or in none."""

    def spoil(answer):
        payload = bytearray(answer.payload())
        match chooser.randrange(60):
            case 0:
                return frame(answer.kind, chooser.randbytes(len(payload)))
            case 1:
                return frame(answer.kind, payload[: chooser.randrange(len(payload) + 1)])
            case 2:
                return frame(answer.kind, payload + chooser.randbytes(chooser.randrange(1, 9)))
            case 3:
                return frame(chooser.choice(KINDS), payload)
            case 4:
                payload[chooser.randrange(len(payload))] ^= 1 << chooser.randrange(8)
                return frame(answer.kind, payload)
            case 5:
                return encode(answer) * chooser.randrange(3)
            case 6:
                return chooser.randbytes(chooser.randrange(9)) + encode(answer)
        return encode(answer)

    return spoil


def converse(spoil):
    """All that a host does; what it found amiss."""
    try:
        talk = Chat(Liar(spoil), Letters(), 2, 0.0, 0)
        screen = io.StringIO()
        print(talk.greeting(), file=screen)
        talk.loop(["abc", "/status", "/reset", "de", "/quit"], screen)
        load_memory(talk.driver, IMAGE)
    except DriverError as error:
        return str(error)
    return ""


def test_conversations_with_a_liar():
    """1,000 of them: each fault is told in a line, and some have none."""
    chooser = random.Random(4)
    said = [converse(spoiler(chooser)) for _ in range(1_000)]
    assert 0 < said.count("") < 900
    assert len({*said}) > 50
    assert max(map(len, said)) < 300
    assert not any("\n" in text for text in said)


def test_an_honest_board():
    """What the liar spoils is right before, whatever its memory is to hold."""
    talk = Chat(Liar(encode), Letters(), 2, 0.0, 0)
    screen = io.StringIO()
    talk.loop(["abc"], screen)
    assert screen.getvalue().startswith("abcfg\n[2 tokens, ")
    assert load_memory(talk.driver, IMAGE) == 0
    with pytest.raises(DriverError, match="memory does not keep what is written"):
        load_memory(talk.driver, bytes(302))


def says(kind, *answers):
    """A spoiler that says ``answers`` (bytes) in place of the answer of that kind."""
    return lambda answer: b"".join(answers) if answer.kind == kind else encode(answer)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (says(Kind.INFO, frame(Kind.INFO)), "does not keep to the protocol: INFO must be of versi"),
        (says(Kind.INFO, frame(Kind.INFO, b"\1")), "INFO must have 24 bytes or more"),
        (says(Kind.INFO, frame(Kind.INFO, b"\1" + bytes(40))), "vocab_size must be from 1 to"),
        (says(Kind.INFO, frame(Kind.INFO, b"\7")), "speaks version 7 of the protocol"),
        (says(Kind.STATUS, encode(Status(1, 0))), "the machine is still busy after 6 s"),
        (says(Kind.DONE, frame(Kind.DONE, b"\x09" + bytes(15))), "9 is not a valid Reason"),
        (says(Kind.DONE, encode(Done(0, 0, ()))), "the machine sent 0 counters"),
        (says(Kind.TOKEN, encode(Token(37, 0))), "gave token 37 of a vocabulary of 37"),
        (says(Kind.DONE, encode(Token(1, 0))), "gave more than the 2 tokens asked for"),
        (says(Kind.ACK, encode(Error(3, 200))), "no answer from the machine within 0.1 s"),
        (says(Kind.STATUS, b"\xc5" * 3000), "no answer from the machine within 0.1 s"),
    ],
)
def test_lies(spoil, message):
    with pytest.raises(DriverError, match=message):
        Chat(Liar(spoil), Letters(), 2, 0.0, 0).loop(["abc"], io.StringIO())


def test_a_name_that_would_rule_the_terminal():
    talk = Chat(Liar(says(Kind.INFO, encode(Info(37, 24, name="\33[2Jé\n")))), Letters(), 2, 0.0, 0)
    assert talk.greeting() == "\\x1b[2Jé\\n: 1 weights a cycle, 24 positions"


def test_a_run_without_tokens():
    """Some cycles, and no token to divide them by."""
    screen = io.StringIO()

    def spoil(answer):
        if answer.kind == Kind.DONE:
            return encode(Done(Reason.STOP, 0, (9, 9, 9)))
        return b"" if answer.kind == Kind.TOKEN else encode(answer)

    driver = Driver(Liar(spoil))
    run = driver.run([1], 2)
    assert list(run) == []
    Chat(Liar(spoil), Letters(), 2, 0.0, 0).answer("abc", screen)
    assert screen.getvalue().startswith("abc\n[0 tokens")


@pytest.mark.parametrize("temperature", [float("inf"), float("nan"), -0.1, 15.999])
def test_temperatures_that_are_none(temperature):
    with pytest.raises(ValueError, match="temperature must be from 0 to less than 16"):
        Driver(Liar(encode)).run([1], 2, temperature=temperature)


def test_kinds():
    """Each kind of message is among those that the liar chooses from."""
    assert {*KINDS} == {*messages.MESSAGES}
