"""The former place of :mod:`celosia.protocol.frames`, for programs that import it from here."""

from celosia.protocol.frames import (
    CRC,
    LONGEST_FRAME,
    MAX_PAYLOAD,
    SYNC,
    Frame,
    FrameDecoder,
    frame,
)

__all__ = ["CRC", "LONGEST_FRAME", "MAX_PAYLOAD", "SYNC", "Frame", "FrameDecoder", "frame"]
