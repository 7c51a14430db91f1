"""Which commands a machine refuses, and why: the contract of the host link.

docs/protocol.md says the same in prose, and lists the kinds of messages.
"""

import enum

from celosia.protocol.messages import Kind, decode

__all__ = ["COMMANDS", "MEMORY_COMMANDS", "TEMPERATURE_LIMIT", "TEMPERATURE_ONE", "Code", "refusal"]

COMMANDS = (Kind.ASK_INFO, Kind.PROMPT, Kind.RUN, Kind.ABORT, Kind.ASK_STATUS)
MEMORY_COMMANDS = (Kind.LOAD, Kind.CHECK)  # of machines whose host loads their memory
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
    states=False,
):
    """Why a machine refuses a command (:class:`Frame`): a :class:`Code`, or None if it does not.

    The contract of ``HostLink``. A run's last token takes no position
    of its own, so that ``start + length + count - 1`` positions are used.

    ``memory`` is the size in bytes of the memory that the host loads, 0 where there is none;
    ``holds`` says that it is known to hold the tape. A ``plain`` machine's runs begin at position
    0, a ``greedy`` one's have no temperature; others begin at 0 or from ``least_start`` on, or with
    ``states`` there alone.
    """
    if command.kind not in COMMANDS + MEMORY_COMMANDS * bool(memory):
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
        length = message.length if command.kind == Kind.CHECK else len(message.data)
        odd = message.address % 2 or length % 2
        reasons = {
            Code.BUSY: busy,
            Code.EMPTY: not length,
            Code.ADDRESS: odd or message.address + length > memory,
        }
    else:
        reasons = {}
    return next((code for code, holds in reasons.items() if holds), None)
