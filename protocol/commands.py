"""What the host says: a dataclass for each command."""

from dataclasses import dataclass

from celosia.protocol.frames import MAX_PAYLOAD
from celosia.protocol.message import Kind, Message, from_bytes, to_bytes

__all__ = [
    "LOAD_BYTES",
    "PROMPT_TOKENS",
    "SAVED_VALUES",
    "Abort",
    "AskInfo",
    "AskStatus",
    "Check",
    "Load",
    "Prompt",
    "Restore",
    "Resume",
    "Run",
    "Save",
]

PROMPT_TOKENS = (MAX_PAYLOAD - 3) // 3  # in one frame
LOAD_BYTES = (MAX_PAYLOAD - 4) // 2 * 2  # likewise
SAVED_VALUES = (MAX_PAYLOAD - 8) // 4  # of states, in one answer


class AskInfo(Message):
    """What are you? Answered by ``Info``."""

    kind = Kind.ASK_INFO


class AskStatus(Message):
    """What are you doing? Answered by ``Status``."""

    kind = Kind.ASK_STATUS


class Abort(Message):
    """End the run after the current token. Answered by ``Ack``, run or no run."""

    kind = Kind.ABORT


@dataclass(frozen=True)
class Prompt(Message):
    """Tokens, up to :data:`PROMPT_TOKENS`, for the positions from `address` on."""

    kind = Kind.PROMPT
    address: int
    tokens: tuple

    def payload(self):
        return _numbers(self.address, "token", self.tokens)

    @classmethod
    def parse(cls, payload):
        address, tokens = _address_and_numbers(cls.kind, "token", payload)
        return cls(address, tokens)


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
        return to_bytes("address", self.address, 4) + self.data

    @classmethod
    def parse(cls, payload):
        if len(payload) < 4 or len(payload) % 2:
            raise ValueError("LOAD must have 4 bytes, and an even number of them")
        return cls(*from_bytes(payload, [4]), data=bytes(payload[4:]))


@dataclass(frozen=True)
class Check(Message):
    """What do `length` bytes of external memory hold? Answered by ``Checksum``."""

    kind = Kind.CHECK
    sizes = (4, 4)
    address: int
    length: int


@dataclass(frozen=True)
class Save(Message):
    """`count` values of states, up to :data:`SAVED_VALUES`, from `address` on?

    Answered by ``States``.
    """

    kind = Kind.SAVE
    sizes = (3, 1)
    address: int
    count: int


@dataclass(frozen=True)
class Restore(Message):
    """Values of states, up to :data:`PROMPT_TOKENS`, from `address` on; modulo 2**18.

    There is no state of a position until ``Resume``.
    """

    kind = Kind.RESTORE
    address: int
    values: tuple

    def payload(self):
        return _numbers(self.address, "value", self.values)

    @classmethod
    def parse(cls, payload):
        address, values = _address_and_numbers(cls.kind, "value", payload)
        return cls(address, values)


@dataclass(frozen=True)
class Resume(Message):
    """The states are those of the model with this hash, before `position`."""

    kind = Kind.RESUME
    position: int
    model_hash: bytes

    def payload(self):
        return to_bytes("position", self.position, 3) + self.model_hash

    @classmethod
    def parse(cls, payload):
        if len(payload) != 11:
            raise ValueError("RESUME must have 11 bytes")
        return cls(from_bytes(payload, [3])[0], bytes(payload[3:]))


def _numbers(address, name, numbers):
    """The payload of an address and of numbers, of 3 bytes each."""
    if len(numbers) > PROMPT_TOKENS:
        raise ValueError(f"{name}s must be up to {PROMPT_TOKENS} in a frame, not {len(numbers)}")
    return to_bytes("address", address, 3) + b"".join(to_bytes(name, n, 3) for n in numbers)


def _address_and_numbers(kind, name, payload):
    """What :func:`_numbers` was made of."""
    if len(payload) < 3 or len(payload) % 3:
        raise ValueError(f"{kind.name} must have 3 bytes, and 3 for each {name}")
    address, *numbers = from_bytes(payload, [3] * (len(payload) // 3))
    return address, tuple(numbers)
