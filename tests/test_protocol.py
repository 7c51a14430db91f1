import random
from dataclasses import replace

import pytest
from celosia.protocol import messages, refusals
from celosia.protocol.frames import CRC, LONGEST_FRAME, SYNC, Frame, FrameDecoder, frame
from celosia.protocol.messages import Info, Kind, Prompt, Reason, Run, decode, encode
from celosia.protocol.refusals import Code, refusal

VOCAB_SIZE, MAX_SEQ_LEN = 300, 100

EVERY_MESSAGE = [
    messages.AskInfo(),
    messages.AskStatus(),
    messages.Abort(),
    Prompt(0, (1,)),
    Prompt(2**24 - 1, tuple(range(2**24 - 84, 2**24))),
    Run(1, 2, 3, 4, 5, 6),
    Run(2**24 - 1, 0, 0x10203, 2**24 - 2, 2**16 - 1, 2**32 - 1),
    messages.Ack(Kind.RUN),
    messages.Error(Kind.RUN, Code.SPAN),
    messages.Status(1, 2**24 - 1),
    messages.Token(0x10203, 0x4050607),
    messages.Done(Reason.STOP, 7, ()),
    messages.Done(Reason.ABORTED, 7, tuple(range(2**32 - 62, 2**32))),
    messages.Load(2**32 - 1, b"ab"),
    messages.Load(6, bytes(range(250))),
    messages.Check(2**32 - 1, 0x1020304),
    messages.Checksum(2**32 - 2),
    messages.Save(2**24 - 1, 61),
    messages.Restore(3, ()),
    messages.Restore(2**24 - 1, tuple(range(2**18 - 84, 2**18))),
    messages.Resume(0x10203, b"12345678"),
    messages.States(0x10203, 500, tuple(range(2**32 - 61, 2**32))),
    Info(1, 2**20 - 1),
    Info(2**20 - 1, 1, 2**16 - 1, 7, 62, 2**32 - 1, b"12345678", "Célosia"),
]


def simple_crc(data):
    """CRC-16/IBM-SDLC, bit by bit."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return crc ^ 0xFFFF


def random_bytes(chooser, size):
    """Bytes among which sync bytes and short lengths are frequent."""
    pool = [SYNC, SYNC, 0, 1, 2, 3, 4, 5, 6, 18, *(chooser.randrange(256) for _ in range(10))]
    return bytes(chooser.choices(pool, k=size))


def test_frame_by_hand():
    body = bytes([0x80, 1, 3])
    crc = simple_crc(body)
    assert encode(messages.Ack(Kind.RUN)) == bytes([0xC5, *body, crc & 0xFF, crc >> 8])
    assert CRC.compute(b"123456789") == simple_crc(b"123456789") == 0x906E


def test_payload_by_hand():
    run = Run(0x010203, 0x040506, 0x070809, 0x0A0B0C, 0x0D0E, 0x0F101112)
    assert run.payload() == bytes.fromhex("030201 060504 090807 0c0b0a 0e0d 1211100f")
    assert Prompt(1, (0x020304, 5)).payload() == bytes.fromhex("010000 040302 050000")
    assert messages.Load(0x01020304, b"abcd").payload() == b"\4\3\2\1abcd"
    assert messages.Check(0x01020304, 5).payload() == b"\4\3\2\1\5\0\0\0"
    done = messages.Done(Reason.STOP, 2, (3, 2**31))
    assert done.payload() == bytes.fromhex("01 020000 03000000 00000080")
    info = Info(300, 4, 5, 6, 7, 8, b"12345678", "x")
    assert info.payload() == bytes.fromhex(
        "01 2c0100 040000 0500 0600 07 08000000 3132333435363738 78"
    )


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_every_message_comes_back(message):
    (found,) = FrameDecoder().feed(encode(message))
    assert decode(found) == message
    assert found == Frame(message.kind, message.payload())


def test_frames_in_pieces():
    text = b"".join(map(encode, EVERY_MESSAGE))
    chooser = random.Random(1)
    for _ in range(20):
        decoder, found, place = FrameDecoder(), [], 0
        while place < len(text):
            size = chooser.randrange(1, 40)
            found += decoder.feed(text[place : place + size])
            place += size
        assert [decode(one) for one in found] == EVERY_MESSAGE
        assert decoder.damaged == 0


def test_every_flipped_bit_is_found():
    text = encode(Prompt(3, (4, 5)))
    for bit in range(8 * len(text)):
        broken = bytearray(text)
        broken[bit // 8] ^= 1 << bit % 8
        decoder = FrameDecoder()
        assert decoder.feed(broken) + decoder.flush() == []
        assert decoder.damaged == (bit >= 8)


def test_good_frames_between_damaged_ones():
    good = encode(messages.Token(1, 2))
    for size in range(len(good)):
        decoder = FrameDecoder()
        found = decoder.feed(b"noise" + good[:size] + good) + decoder.flush()
        assert [decode(one) for one in found] == [messages.Token(1, 2)]
    decoder = FrameDecoder()
    assert decoder.feed(bytes([SYNC, 0, 255]) + good) == []
    assert [decode(one) for one in decoder.flush()] == [messages.Token(1, 2)]
    assert decoder.damaged == 1


@pytest.mark.parametrize("seed", range(5))
def test_noise(seed):
    chooser = random.Random(seed)
    decoder = FrameDecoder()
    last = encode(messages.AskInfo())
    assert len(decoder.feed(random_bytes(chooser, 5000))) < 5
    assert decoder.damaged > 100
    found = decoder.feed(bytes(LONGEST_FRAME) + last)
    assert decode(found[-1]) == messages.AskInfo()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: frame(1, bytes(256)), "payload must have up to 255 bytes, not 256"),
        (lambda: encode(Prompt(0, (1,) * 85)), "tokens must be up to 84 in a frame, not 85"),
        (lambda: encode(Prompt(2**24, ())), "address must be from 0 to 16777215, not 16777216"),
        (lambda: encode(Prompt(0, (-1,))), "token must be from 0 to 16777215, not -1"),
        (lambda: encode(Run(0, 1, 1, 0, 2**16, 0)), "temperature must be from 0 to 65535"),
        (lambda: encode(messages.Done(0, 0, (1,) * 63)), "counters must be up to 62, not 63"),
        (lambda: Info(0, 1), r"vocab_size must be from 1 to 2\*\*20 - 1, not 0"),
        (lambda: Info(1, 2**20), r"max_seq_len must be from 1 to 2\*\*20 - 1, not 1048576"),
        (lambda: Info(1, 1, n_counters=63), "n_counters must be from 0 to 62, not 63"),
        (lambda: Info(1, 1, model_hash=b"1"), "model_hash must have 8 bytes, not 1"),
        (lambda: Info(1, 1, name="é" * 33), "name must have up to 64 bytes, not 66"),
        (lambda: decode(Frame(0x99, b"")), "kind must be one of .*, not 153"),
        (lambda: decode(Frame(Kind.RUN, bytes(17))), "RUN must have 18 bytes"),
        (lambda: decode(Frame(Kind.PROMPT, bytes(2))), "PROMPT must have 3 bytes, and 3 for each"),
        (lambda: decode(Frame(Kind.PROMPT, bytes(4))), "PROMPT must have 3 bytes, and 3 for each"),
        (lambda: encode(messages.Load(0, bytes(252))), "data must be up to 250 bytes, not 252"),
        (lambda: encode(messages.Load(0, b"abc")), "data must be an even number of bytes, not 3"),
        (lambda: decode(Frame(Kind.LOAD, bytes(2))), "LOAD must have 4 bytes, and an even number"),
        (lambda: decode(Frame(Kind.LOAD, bytes(7))), "LOAD must have 4 bytes, and an even number"),
        (lambda: decode(Frame(Kind.CHECK, bytes(7))), "CHECK must have 8 bytes"),
        (lambda: decode(Frame(Kind.DONE, bytes(6))), "DONE must have 4 bytes, and 4 for each"),
        (lambda: decode(Frame(Kind.DONE, bytes([4, 0, 0, 0]))), "4 is not a valid Reason"),
        (lambda: decode(Frame(Kind.INFO, b"")), "INFO must be of version 1, not $"),
        (lambda: decode(Frame(Kind.INFO, b"\2")), "INFO must be of version 1, not 02"),
        (lambda: decode(Frame(Kind.INFO, b"\1")), "INFO must have 24 bytes or more"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Prompt(0, ()), Code.EMPTY),
        (Prompt(99, (299,)), None),
        (Prompt(100, (1,)), Code.ADDRESS),
        (Prompt(16, (1,) * 84), None),
        (Prompt(17, (1,) * 84), Code.ADDRESS),
        (Prompt(0, (1, 300)), Code.VOCABULARY),
        (Prompt(2**24 - 1, (2**24 - 1,)), Code.ADDRESS),
        (Run(0, 1, 100, 300, 4095, 0), None),
        (Run(99, 1, 1, 300, 0, 0), None),
        (Run(99, 1, 2, 300, 0, 0), Code.SPAN),
        (Run(0, 100, 1, 0, 0, 0), None),
        (Run(0, 101, 1, 0, 0, 0), Code.SPAN),
        (Run(2**24 - 1, 2**24 - 1, 2**24 - 1, 0, 0, 0), Code.SPAN),
        (Run(0, 0, 1, 300, 0, 0), Code.EMPTY),
        (Run(0, 1, 0, 300, 0, 0), Code.COUNT),
        (Run(0, 1, 1, 301, 0, 0), Code.VOCABULARY),
        (Run(0, 1, 1, 300, 4096, 0), Code.TEMPERATURE),
        (Run(0, 0, 0, 301, 4096, 0), Code.EMPTY),
        (messages.Abort(), None),
        (messages.Ack(0), Code.KIND),
    ],
)
def test_refusals(message, code):
    command = Frame(message.kind, message.payload())
    assert refusal(command, VOCAB_SIZE, MAX_SEQ_LEN) == code
    if message.kind in (Kind.PROMPT, Kind.RUN):
        assert refusal(command, VOCAB_SIZE, MAX_SEQ_LEN, busy=True) == Code.BUSY


def test_refused_lengths():
    for kind in refusals.COMMANDS:
        fits = {Kind.RUN: [18], Kind.PROMPT: range(3, 256, 3)}.get(kind, [0])
        for size in range(256):
            code = refusal(Frame(kind, bytes(size)), VOCAB_SIZE, MAX_SEQ_LEN)
            assert (code == Code.LENGTH) == (size not in fits)


def test_a_command_is_never_an_answer():
    commands = refusals.COMMANDS + refusals.MEMORY_COMMANDS + refusals.STATE_COMMANDS
    answers = set(Kind) - set(commands)
    assert all(kind < 128 for kind in commands)
    assert all(kind >= 128 for kind in answers)
    for kind in {*range(256)} - set(refusals.COMMANDS):
        assert refusal(Frame(kind, b""), VOCAB_SIZE, MAX_SEQ_LEN) == Code.KIND


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (messages.Load(0, b"ab"), None),
        (messages.Load(998, b"ab"), None),
        (messages.Load(998, b"abcd"), Code.ADDRESS),
        (messages.Load(2**32 - 2, b"ab"), Code.ADDRESS),
        (messages.Load(3, b"ab"), Code.ADDRESS),
        (messages.Load(3, b""), Code.EMPTY),
        (messages.Check(0, 1000), None),
        (messages.Check(2, 1000), Code.ADDRESS),
        (messages.Check(2**32 - 2, 2), Code.ADDRESS),
        (messages.Check(1, 2), Code.ADDRESS),
        (messages.Check(0, 1), Code.ADDRESS),
        (messages.Check(0, 0), Code.EMPTY),
    ],
)
def test_memory(message, code):
    command = Frame(message.kind, message.payload())
    limits = (VOCAB_SIZE, MAX_SEQ_LEN)
    assert refusal(command, *limits) == Code.KIND
    assert refusal(command, *limits, memory=1000) == code
    assert refusal(command, *limits, busy=True, memory=1000) == Code.BUSY
    for size in range(256):
        fits = size == 8 if message.kind == Kind.CHECK else size >= 4 and size % 2 == 0
        found = refusal(Frame(message.kind, bytes(size)), *limits, memory=1000)
        assert (found == Code.LENGTH) == (not fits)


def test_a_run_needs_the_tape():
    run = Run(0, 1, 1, 300, 0, 0)
    for holds, code in ((True, None), (False, Code.MEMORY)):
        command = Frame(run.kind, run.payload())
        assert refusal(command, VOCAB_SIZE, MAX_SEQ_LEN, memory=1000, holds=holds) == code


def test_a_run_needs_what_its_windows_see():
    for start, code in ((0, None), (1, Code.OVERWRITTEN), (6, Code.OVERWRITTEN), (7, None)):
        run = Run(start, 1, 1, VOCAB_SIZE, 0, 0)
        command = Frame(run.kind, run.payload())
        assert refusal(command, VOCAB_SIZE, MAX_SEQ_LEN, least_start=7) == code


def test_a_run_needs_the_state_of_its_position():
    for start, code in ((0, None), (6, Code.OVERWRITTEN), (7, None), (8, Code.OVERWRITTEN)):
        run = Run(start, 1, 1, VOCAB_SIZE, 0, 0)
        command = Frame(run.kind, run.payload())
        assert refusal(command, VOCAB_SIZE, MAX_SEQ_LEN, least_start=7, states=1) == code


def test_plain_and_greedy_machines_refuse_what_they_cannot():
    run = Run(0, 2, 1, VOCAB_SIZE, 0, 0)
    limits = VOCAB_SIZE, MAX_SEQ_LEN
    for change, kind, code in (
        ("start", "plain", Code.START),
        ("temperature", "greedy", Code.GREEDY),
    ):
        assert refusal(Frame(Kind.RUN, run.payload()), *limits, **{kind: True}) is None
        command = Frame(Kind.RUN, replace(run, **{change: 1}).payload())
        for given in ({}, {"plain": True}, {"greedy": True}):
            assert refusal(command, *limits, **given) == (code if kind in given else None)
