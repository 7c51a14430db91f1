"""A message of host or machine: its kind, and its fields as bytes."""

import enum
from dataclasses import dataclass, fields
from typing import ClassVar

__all__ = ["Kind", "Message", "from_bytes", "to_bytes"]


class Kind(enum.IntEnum):
    """The second byte of a frame: commands are below 128, what the machine says is above."""

    ASK_INFO = 0x01
    PROMPT = 0x02
    RUN = 0x03
    ABORT = 0x04
    ASK_STATUS = 0x05
    LOAD = 0x06
    CHECK = 0x07
    SAVE = 0x08
    RESTORE = 0x09
    RESUME = 0x0A
    ACK = 0x80
    INFO = 0x81
    STATUS = 0x85
    TOKEN = 0x86
    DONE = 0x87
    CHECKSUM = 0x88
    STATES = 0x89
    ERROR = 0x8F


@dataclass(frozen=True)
class Message:
    """One message; a subclass for each kind. `sizes` are the bytes of its fields, in order."""

    kind: ClassVar[Kind]
    sizes: ClassVar[tuple] = ()

    def payload(self):
        """The payload's bytes; ValueError names a field that does not fit."""
        names = [f.name for f in fields(self)]
        return b"".join(
            to_bytes(name, getattr(self, name), size)
            for name, size in zip(names, self.sizes, strict=True)
        )

    @classmethod
    def parse(cls, payload):
        """The message with this payload; ValueError if the length is wrong."""
        if len(payload) != sum(cls.sizes):
            raise ValueError(f"{cls.kind.name} must have {sum(cls.sizes)} bytes")
        return cls(*from_bytes(payload, cls.sizes))


def to_bytes(name, value, size):
    """The number ``value`` in ``size`` bytes, the lowest first; ValueError if it does not fit."""
    if value not in range(256**size):
        raise ValueError(f"{name} must be from 0 to {256**size - 1}, not {value!r}")
    return int(value).to_bytes(size, "little")


def from_bytes(payload, sizes):
    """The numbers of `sizes` bytes each at the start of a payload."""
    numbers, start = [], 0
    for size in sizes:
        numbers.append(int.from_bytes(payload[start : start + size], "little"))
        start += size
    return numbers
