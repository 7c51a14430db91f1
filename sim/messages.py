"""What host and machine say to each other: a dataclass for each kind of message.

Pure Python, no I/O. Numbers are little-endian. docs/protocol.md says the same in prose.
"""

import enum
from dataclasses import dataclass, fields
from typing import ClassVar

from celosia.sim.frames import MAX_PAYLOAD, frame

__all__ = [
    "COUNTERS_LIMIT",
    "LOAD_BYTES",
    "PROMPT_TOKENS",
    "VERSION",
    "Abort",
    "Ack",
    "AskInfo",
    "AskStatus",
    "Check",
    "Checksum",
    "Done",
    "Error",
    "Info",
    "Kind",
    "Load",
    "Message",
    "Prompt",
    "Reason",
    "Run",
    "Status",
    "Token",
    "decode",
    "encode",
]

VERSION = 1
PROMPT_TOKENS = (MAX_PAYLOAD - 3) // 3  # in one frame
LOAD_BYTES = (MAX_PAYLOAD - 4) // 2 * 2  # likewise
COUNTERS_LIMIT = (MAX_PAYLOAD - 4) // 4  # that fit into one frame


class Kind(enum.IntEnum):
    """The second byte of a frame: commands are below 128, what the machine says is above."""

    ASK_INFO = 0x01
    PROMPT = 0x02
    RUN = 0x03
    ABORT = 0x04
    ASK_STATUS = 0x05
    LOAD = 0x06
    CHECK = 0x07
    ACK = 0x80
    INFO = 0x81
    STATUS = 0x85
    TOKEN = 0x86
    DONE = 0x87
    CHECKSUM = 0x88
    ERROR = 0x8F


class Reason(enum.IntEnum):
    """Why a run ended."""

    COUNT = 0
    STOP = 1
    ABORTED = 2
    FAULT = 3  # external memory answered with an error; the token under way was lost


@dataclass(frozen=True)
class Message:
    """One message; a subclass for each kind. `sizes` are the bytes of its fields, in order."""

    kind: ClassVar[Kind]
    sizes: ClassVar[tuple] = ()

    def payload(self):
        """The payload's bytes; ValueError names a field that does not fit."""
        names = [f.name for f in fields(self)]
        return b"".join(
            _bytes(name, getattr(self, name), size)
            for name, size in zip(names, self.sizes, strict=True)
        )

    @classmethod
    def parse(cls, payload):
        """The message with this payload; ValueError if the length is wrong."""
        if len(payload) != sum(cls.sizes):
            raise ValueError(f"{cls.kind.name} must have {sum(cls.sizes)} bytes")
        return cls(*_numbers(payload, cls.sizes))


def _bytes(name, value, size):
    if value not in range(256**size):
        raise ValueError(f"{name} must be from 0 to {256**size - 1}, not {value!r}")
    return int(value).to_bytes(size, "little")


def _numbers(payload, sizes):
    """The numbers of `sizes` bytes each at the start of a payload."""
    numbers, start = [], 0
    for size in sizes:
        numbers.append(int.from_bytes(payload[start : start + size], "little"))
        start += size
    return numbers


class AskInfo(Message):
    """What are you? Answered by :class:`Info`."""

    kind = Kind.ASK_INFO


class AskStatus(Message):
    """What are you doing? Answered by :class:`Status`."""

    kind = Kind.ASK_STATUS


class Abort(Message):
    """End the run after the current token. Answered by :class:`Ack`, run or no run."""

    kind = Kind.ABORT


@dataclass(frozen=True)
class Prompt(Message):
    """Tokens, up to :data:`PROMPT_TOKENS`, for the positions from `address` on."""

    kind = Kind.PROMPT
    address: int
    tokens: tuple

    def payload(self):
        if len(self.tokens) > PROMPT_TOKENS:
            raise ValueError(
                f"tokens must be up to {PROMPT_TOKENS} in a frame, not {len(self.tokens)}"
            )
        return _bytes("address", self.address, 3) + b"".join(
            _bytes("token", token, 3) for token in self.tokens
        )

    @classmethod
    def parse(cls, payload):
        if len(payload) < 3 or len(payload) % 3:
            raise ValueError("PROMPT must have 3 bytes, and 3 for each token")
        address, *tokens = _numbers(payload, [3] * (len(payload) // 3))
        return cls(address, tuple(tokens))


@dataclass(frozen=True)
class Run(Message):
    """Process the prompt at positions `start` to ``start + length - 1``, generate `count` tokens.

    `temperature` is in 1/256; generation also ends after the token `stop` (``vocab_size`` for
    none).
    """

    kind = Kind.RUN
    sizes = (3, 3, 3, 3, 2, 4)
    start: int
    length: int
    count: int
    stop: int
    temperature: int
    seed: int


@dataclass(frozen=True)
class Load(Message):
    """Bytes, an even number of up to :data:`LOAD_BYTES`, for external memory from `address` on."""

    kind = Kind.LOAD
    address: int
    data: bytes

    def payload(self):
        if len(self.data) > LOAD_BYTES:
            raise ValueError(f"data must be up to {LOAD_BYTES} bytes, not {len(self.data)}")
        if len(self.data) % 2:
            raise ValueError(f"data must be an even number of bytes, not {len(self.data)}")
        return _bytes("address", self.address, 4) + self.data

    @classmethod
    def parse(cls, payload):
        if len(payload) < 4 or len(payload) % 2:
            raise ValueError("LOAD must have 4 bytes, and an even number of them")
        return cls(*_numbers(payload, [4]), bytes(payload[4:]))


@dataclass(frozen=True)
class Check(Message):
    """What do `length` bytes of external memory hold? Answered by :class:`Checksum`."""

    kind = Kind.CHECK
    sizes = (4, 4)
    address: int
    length: int


@dataclass(frozen=True)
class Checksum(Message):
    """The CRC-32 of the bytes that a :class:`Check` asked for, as ``zlib.crc32`` gives it."""

    kind = Kind.CHECKSUM
    sizes = (4,)
    crc: int


@dataclass(frozen=True)
class Ack(Message):
    """The command of kind `command` was accepted."""

    kind = Kind.ACK
    sizes = (1,)
    command: int


@dataclass(frozen=True)
class Error(Message):
    """The command of kind `command` was refused, because of `code` (:class:`protocol.Code`)."""

    kind = Kind.ERROR
    sizes = (1, 1)
    command: int
    code: int


@dataclass(frozen=True)
class Status(Message):
    """Whether the machine is busy, and how many tokens the last run has given."""

    kind = Kind.STATUS
    sizes = (1, 3)
    busy: int
    tokens: int


@dataclass(frozen=True)
class Token(Message):
    """A generated token and the machine's cycle counter."""

    kind = Kind.TOKEN
    sizes = (3, 4)
    token: int
    cycles: int


@dataclass(frozen=True)
class Done(Message):
    """The end of a run: why (:class:`Reason`), how many tokens it gave, and all counters."""

    kind = Kind.DONE
    reason: int
    tokens: int
    counters: tuple

    def payload(self):
        if len(self.counters) > COUNTERS_LIMIT:
            raise ValueError(f"counters must be up to {COUNTERS_LIMIT}, not {len(self.counters)}")
        return (
            _bytes("reason", self.reason, 1)
            + _bytes("tokens", self.tokens, 3)
            + b"".join(_bytes("counter", value, 4) for value in self.counters)
        )

    @classmethod
    def parse(cls, payload):
        if len(payload) < 4 or len(payload) % 4:
            raise ValueError("DONE must have 4 bytes, and 4 for each counter")
        reason, tokens, *counters = _numbers(payload, [1, 3] + [4] * (len(payload) // 4 - 1))
        return cls(Reason(reason), tokens, tuple(counters))


@dataclass(frozen=True)
class Info(Message):
    """What the machine is. The payload's first byte is the protocol's version in every version.

    Parameters
    ----------
    vocab_size, max_seq_len : int, 1 to 2**20 - 1
    weight_parallelism, token_parallelism : int, 0 to 2**16 - 1
    n_counters : int, 0 to 62
        How many counters :class:`Done` brings.
    frequency : int
        Clock cycles per second; 0 where there is no clock to speak of, as in simulation.
    model_hash : bytes[8]
    name : str, up to 64 bytes of UTF-8

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    kind = Kind.INFO
    sizes = (3, 3, 2, 2, 1, 4)
    vocab_size: int
    max_seq_len: int
    weight_parallelism: int = 1
    token_parallelism: int = 1
    n_counters: int = 0
    frequency: int = 0
    model_hash: bytes = bytes(8)
    name: str = ""

    def __post_init__(self):
        for name in ("vocab_size", "max_seq_len"):
            value = getattr(self, name)
            if value not in range(1, 2**20):
                raise ValueError(f"{name} must be from 1 to 2**20 - 1, not {value!r}")
        if self.n_counters not in range(COUNTERS_LIMIT + 1):
            raise ValueError(
                f"n_counters must be from 0 to {COUNTERS_LIMIT}, not {self.n_counters!r}"
            )
        if len(self.model_hash) != 8:
            raise ValueError(f"model_hash must have 8 bytes, not {len(self.model_hash)}")
        if len(self.name.encode()) > 64:
            raise ValueError(f"name must have up to 64 bytes, not {len(self.name.encode())}")

    def payload(self):
        names = [f.name for f in fields(self)]
        numbers = [
            _bytes(name, getattr(self, name), size)
            for name, size in zip(names, self.sizes, strict=False)
        ]
        return bytes([VERSION]) + b"".join(numbers) + self.model_hash + self.name.encode()

    @classmethod
    def parse(cls, payload):
        if payload[:1] != bytes([VERSION]):
            raise ValueError(f"INFO must be of version {VERSION}, not {payload[:1].hex()}")
        end = 1 + sum(cls.sizes)
        if len(payload) < end + 8:
            raise ValueError(f"INFO must have {end + 8} bytes or more")
        name = payload[end + 8 :].decode(errors="replace")
        return cls(*_numbers(payload[1:], cls.sizes), bytes(payload[end : end + 8]), name)


COMMANDS = (AskInfo, Prompt, Run, Abort, AskStatus, Load, Check)
ANSWERS = (Ack, Info, Status, Token, Done, Checksum, Error)
MESSAGES = {cls.kind: cls for cls in (*COMMANDS, *ANSWERS)}


def encode(message):
    """The bytes of a message's frame."""
    return frame(message.kind, message.payload())


def decode(received):
    """The message in a frame; ValueError if there is none of that kind and length."""
    if received.kind not in MESSAGES:
        raise ValueError(f"kind must be one of {[*map(int, MESSAGES)]}, not {received.kind}")
    return MESSAGES[received.kind].parse(received.payload)
