"""What a recurrent model remembers of a sequence: read out of a machine, kept, put into another."""

import zlib
from dataclasses import dataclass, replace

from celosia.protocol.messages import (
    PROMPT_TOKENS,
    SAVED_VALUES,
    Ack,
    Restore,
    Resume,
    Save,
    States,
)
from celosia.protocol.refusals import STATE_LIMIT
from celosia.sim.request import RequestError
from celosia.sim.transport import DriverError

__all__ = ["State", "StateError", "check_model", "read_state", "restore", "save"]

MAGIC = b"celosia state 2\n"
FILE_LIMIT = 1 << 28  # bytes


class StateError(RequestError):
    """A file that is no state of the model; the message names it."""


@dataclass(frozen=True)
class State:
    """The states of all layers behind a sequence.

    Parameters
    ----------
    model_hash : bytes[8]
    name : str
        The model's.
    position : int
        Tokens of the sequence: where the next run begins.
    values : tuple of int, -2**17 to 2**17 - 1
        As they lie in the machine.
    tokens : tuple of int
        The sequence, as far as the host knows it; then what is to go on with.
    """

    model_hash: bytes
    name: str
    position: int
    values: tuple
    tokens: tuple = ()

    def to_bytes(self):
        """The bytes of a file."""
        name = self.name.encode()
        body = MAGIC + self.model_hash + self.position.to_bytes(3, "little")
        body += len(name).to_bytes(1, "little") + name
        body += len(self.tokens).to_bytes(3, "little")
        numbers = (*self.tokens, *(value % STATE_LIMIT for value in self.values))
        body += b"".join(number.to_bytes(3, "little") for number in numbers)
        return body + zlib.crc32(body).to_bytes(4, "little")

    @classmethod
    def from_bytes(cls, text):
        """The state in a file's bytes.

        Raises
        ------
        ValueError
            If they are no state, or damaged.
        """
        head = len(MAGIC)
        if not text.startswith(MAGIC):
            raise ValueError("it is not a saved state")
        body = text[:-4]
        values = body[head + 12 + body[head + 11] :] if len(body) > head + 11 else b"?"
        if not values or len(values) % 3 or zlib.crc32(body).to_bytes(4, "little") != text[-4:]:
            raise ValueError("it is damaged")
        numbers = [int.from_bytes(values[n : n + 3], "little") for n in range(0, len(values), 3)]
        count, numbers = numbers[0], numbers[1:]
        return cls(
            body[head : head + 8],
            body[head + 12 : len(body) - len(values)].decode(),
            int.from_bytes(body[head + 8 : head + 11], "little"),
            tuple(map(_signed, numbers[count:])),
            tuple(numbers[:count]),
        )

    def behind(self, run):
        """The same with the tokens of a :class:`celosia.sim.simulate.Run` that left it."""
        tokens = (*run.request.before, *run.request.prompt, *run.tokens)
        if len(tokens) != self.position + 1:
            raise StateError("the machine went on behind the stop: its state is not saved")
        return replace(self, tokens=tokens)


def read_state(path):
    """The :class:`State` in a file; :class:`StateError` if there is none."""
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise ValueError(f"it has more than {FILE_LIMIT >> 20} MiB")
        state = State.from_bytes(path.read_bytes())
    except OSError as error:
        raise StateError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise StateError(f"{path}: {error}") from None
    if len(state.tokens) != state.position + 1:
        raise StateError(f"{path}: it does not hold the tokens of its {state.position} positions")
    return state


def _signed(value):
    """The value of 18 bits in the lowest ones of ``value``."""
    value %= STATE_LIMIT
    return value - STATE_LIMIT * (value >= STATE_LIMIT // 2)


def save(ask, info):
    """The :class:`State` of the machine that ``ask(command, class of the answer)`` talks to."""
    answer = ask(Save(0, 1), States)
    values = []
    while len(values) < answer.total:
        count = min(SAVED_VALUES, answer.total - len(values))
        values += ask(Save(len(values), count), States).values
    return State(info.model_hash, info.name, answer.position, tuple(map(_signed, values)))


def restore(ask, info, state):
    """Put ``state`` into a machine; :class:`DriverError` if it is that of another model."""
    check_model(state, info)
    for begin in range(0, len(state.values), PROMPT_TOKENS):
        part = state.values[begin : begin + PROMPT_TOKENS]
        ask(Restore(begin, tuple(value % STATE_LIMIT for value in part)), Ack)
    ask(Resume(state.position, state.model_hash), Ack)


def check_model(state, info):
    """Raise :class:`DriverError` if ``state`` is that of another model than the machine's."""
    if state.model_hash != info.model_hash:
        raise DriverError(
            f"the state is that of another model: of {state.name} ({state.model_hash.hex()}), "
            f"not of {info.name} ({info.model_hash.hex()})"
        )
