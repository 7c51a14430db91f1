"""What the machine says: a dataclass for each answer to a command, and those of a run."""

import enum
from dataclasses import dataclass, fields

from celosia.protocol.frames import MAX_PAYLOAD
from celosia.protocol.message import Kind, Message, from_bytes, to_bytes

__all__ = [
    "COUNTERS_LIMIT",
    "VERSION",
    "Ack",
    "Checksum",
    "Done",
    "Error",
    "Info",
    "Reason",
    "States",
    "Status",
    "Token",
]

VERSION = 1
COUNTERS_LIMIT = (MAX_PAYLOAD - 4) // 4  # that fit into one frame


class Reason(enum.IntEnum):
    """Why a run ended."""

    COUNT = 0
    STOP = 1
    ABORTED = 2
    FAULT = 3  # external memory answered with an error; the token under way was lost


@dataclass(frozen=True)
class Checksum(Message):
    """The CRC-32 of the bytes that a ``Check`` asked for, as ``zlib.crc32`` gives it."""

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
            to_bytes("reason", self.reason, 1)
            + to_bytes("tokens", self.tokens, 3)
            + b"".join(to_bytes("counter", value, 4) for value in self.counters)
        )

    @classmethod
    def parse(cls, payload):
        if len(payload) < 4 or len(payload) % 4:
            raise ValueError("DONE must have 4 bytes, and 4 for each counter")
        reason, tokens, *counters = from_bytes(payload, [1, 3] + [4] * (len(payload) // 4 - 1))
        return cls(Reason(reason), tokens, tuple(counters))


@dataclass(frozen=True)
class States(Message):
    """Values of states; `total` is how many there are, `position` the one behind them.

    Values are modulo 2**32.
    """

    kind = Kind.STATES
    position: int
    total: int
    values: tuple

    def payload(self):
        numbers = [("position", self.position), ("total", self.total)]
        numbers += [("value", value) for value in self.values]
        return b"".join(to_bytes(name, number, 4) for name, number in numbers)

    @classmethod
    def parse(cls, payload):
        if len(payload) < 8 or len(payload) % 4:
            raise ValueError("STATES must have 8 bytes, and 4 for each value")
        position, total, *values = from_bytes(payload, [4] * (len(payload) // 4))
        return cls(position, total, tuple(values))


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
            to_bytes(name, getattr(self, name), size)
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
        numbers = from_bytes(payload[1:], cls.sizes)
        name = payload[end + 8 :].decode(errors="replace")
        return cls(*numbers, model_hash=bytes(payload[end : end + 8]), name=name)
