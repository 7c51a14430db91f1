"""Which commands a machine refuses, and why: the contract of the host link.

docs/protocol.md says the same in prose, and lists the kinds of messages.
"""

import enum

from celosia.protocol.messages import SAVED_VALUES, Kind, decode

__all__ = [
    "COMMANDS",
    "MEMORY_COMMANDS",
    "STATE_COMMANDS",
    "STATE_LIMIT",
    "TEMPERATURE_LIMIT",
    "TEMPERATURE_ONE",
    "Code",
    "refusal",
]

COMMANDS = (Kind.ASK_INFO, Kind.PROMPT, Kind.RUN, Kind.ABORT, Kind.ASK_STATUS)
MEMORY_COMMANDS = (Kind.LOAD, Kind.CHECK)  # of machines whose host loads their memory
STATE_COMMANDS = (Kind.SAVE, Kind.RESTORE, Kind.RESUME)  # of machines with states
STATE_LIMIT = 2**18  # of a value, which is signed
TEMPERATURE_ONE = 2**8
TEMPERATURE_LIMIT = 2**12


class Code(enum.IntEnum):
    """Why a command was refused; where several reasons hold, the lowest is given."""

    CRC = 1
    TRUNCATED = 2
    KIND = 3
    LENGTH = 4
    BUSY = 5
    EMPTY = 6
    COUNT = 7
    ADDRESS = 8
    SPAN = 9
    VOCABULARY = 10
    TEMPERATURE = 11
    MEMORY = 12
    OVERWRITTEN = 13
    START = 14
    GREEDY = 15
    MODEL = 16


def refusal(
    command,
    vocab_size,
    max_seq_len,
    busy=False,
    memory=0,
    holds=True,
    plain=False,
    greedy=False,
    least_start=0,
    states=0,
    model_hash=bytes(8),
):
    """Why a machine refuses a command (:class:`Frame`): a :class:`Code`, or None if it does not.

    The contract of ``HostLink``. A run's last token takes no position
    of its own, so that ``start + length + count - 1`` positions are used.

    ``memory`` is the size in bytes of the memory that the host loads, 0 where there is none;
    ``holds`` says that it is known to hold the tape. A ``plain`` machine's runs begin at position
    0, a ``greedy`` one's have no temperature; others begin at 0 or from ``least_start`` on, or with
    ``states`` there alone: that many values, of the model of ``model_hash``.
    """
    known = COMMANDS + MEMORY_COMMANDS * bool(memory) + STATE_COMMANDS * bool(states)
    if command.kind not in known:
        return Code.KIND
    try:
        message = decode(command)
    except ValueError:
        return Code.LENGTH
    if command.kind == Kind.PROMPT:
        n_tokens = len(message.tokens)
        reasons = {
            Code.BUSY: busy,
            Code.EMPTY: not n_tokens,
            Code.ADDRESS: message.address + n_tokens > max_seq_len,
            Code.VOCABULARY: any(token >= vocab_size for token in message.tokens),
        }
    elif command.kind == Kind.RUN:
        reasons = {
            Code.BUSY: busy,
            Code.EMPTY: not message.length,
            Code.COUNT: not message.count,
            Code.SPAN: message.start + message.length + message.count - 1 > max_seq_len,
            Code.VOCABULARY: message.stop > vocab_size,
            Code.TEMPERATURE: message.temperature >= TEMPERATURE_LIMIT,
            Code.MEMORY: not holds,
            Code.OVERWRITTEN: 0 < message.start < least_start
            or (states and message.start not in (0, least_start)),
            Code.START: plain and message.start > 0,
            Code.GREEDY: greedy and message.temperature > 0,
        }
    elif command.kind in MEMORY_COMMANDS:
        reasons = {Code.BUSY: busy} | _memory(message, memory)
    elif command.kind in STATE_COMMANDS:
        reasons = {Code.BUSY: busy} | _states(message, max_seq_len, states, model_hash)
    else:
        reasons = {}
    return next((code for code, holds in reasons.items() if holds), None)


def _memory(message, memory):
    """Why a load or a check of ``memory`` bytes is refused: each reason, and whether it holds."""
    length = message.length if message.kind == Kind.CHECK else len(message.data)
    odd = message.address % 2 or length % 2
    return {Code.EMPTY: not length, Code.ADDRESS: odd or message.address + length > memory}


def _states(message, max_seq_len, states, model_hash):
    """Why a command about ``states`` values is refused: each reason, and whether it holds."""
    if message.kind == Kind.RESUME:
        return {
            Code.SPAN: message.position > max_seq_len,
            Code.MODEL: message.model_hash != model_hash,
        }
    if message.kind == Kind.SAVE:
        count, most, wide = message.count, SAVED_VALUES, False
    else:
        count, most = len(message.values), states
        wide = any(value >= STATE_LIMIT for value in message.values)
    return {
        Code.EMPTY: not count,
        Code.ADDRESS: count > most or message.address + count > states,
        Code.VOCABULARY: wide,
    }
