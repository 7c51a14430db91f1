"""What host and machine say to each other: commands and answers.

Pure Python, no I/O. Numbers are little-endian. docs/protocol.md says the same in prose.
"""

from celosia.protocol.answers import (
    COUNTERS_LIMIT,
    VERSION,
    Ack,
    Checksum,
    Done,
    Error,
    Info,
    Reason,
    States,
    Status,
    Token,
)
from celosia.protocol.commands import (
    LOAD_BYTES,
    PROMPT_TOKENS,
    SAVED_VALUES,
    Abort,
    AskInfo,
    AskStatus,
    Check,
    Load,
    Prompt,
    Restore,
    Resume,
    Run,
    Save,
)
from celosia.protocol.frames import frame
from celosia.protocol.message import Kind, Message

__all__ = [
    "COUNTERS_LIMIT",
    "LOAD_BYTES",
    "PROMPT_TOKENS",
    "SAVED_VALUES",
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
    "Restore",
    "Resume",
    "Run",
    "Save",
    "States",
    "Status",
    "Token",
    "decode",
    "encode",
]

COMMANDS = (AskInfo, Prompt, Run, Abort, AskStatus, Load, Check, Save, Restore, Resume)
ANSWERS = (Ack, Info, Status, Token, Done, Checksum, States, Error)
MESSAGES = {cls.kind: cls for cls in (*COMMANDS, *ANSWERS)}


def encode(message):
    """The bytes of a message's frame."""
    return frame(message.kind, message.payload())


def decode(received):
    """The message in a frame; ValueError if there is none of that kind and length."""
    if received.kind not in MESSAGES:
        raise ValueError(f"kind must be one of {[*map(int, MESSAGES)]}, not {received.kind}")
    return MESSAGES[received.kind].parse(received.payload)
