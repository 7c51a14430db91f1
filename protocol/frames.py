"""Frames on a byte stream: ``sync, kind, length, payload, CRC``. Pure Python, no I/O."""

from typing import NamedTuple

from amaranth.lib.crc import catalog

__all__ = ["CRC", "LONGEST_FRAME", "MAX_PAYLOAD", "SYNC", "Frame", "FrameDecoder", "frame"]

SYNC = 0xC5
CRC = catalog.CRC16_IBM_SDLC(8)  # over kind, length and payload; sent low byte first
MAX_PAYLOAD = 255
OVERHEAD = 5  # sync, kind, length and CRC
LONGEST_FRAME = MAX_PAYLOAD + OVERHEAD


class Frame(NamedTuple):
    """A frame whose CRC was right."""

    kind: int
    payload: bytes


def frame(kind, payload=b""):
    """The bytes of one frame; ValueError if the payload is longer than 255 bytes."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"payload must have up to {MAX_PAYLOAD} bytes, not {len(payload)}")
    body = bytes([kind, len(payload)]) + payload
    return bytes([SYNC]) + body + CRC.compute(body).to_bytes(2, "little")


class FrameDecoder:
    """Finds frames in bytes that arrive in any pieces.

    After a wrong CRC the search goes on with the byte after the sync byte, so that a good frame
    behind damaged bytes, or among them, is found.

    Attributes
    ----------
    damaged : int
        How many sync bytes began no good frame.
    """

    def __init__(self):
        self.damaged = 0
        self._bytes = bytearray()

    def feed(self, data):
        """The frames that `data` completes: a list of :class:`Frame`."""
        self._bytes += data
        found = []
        while self._complete():
            end = self._bytes[2] + OVERHEAD
            body, crc = self._bytes[1 : end - 2], self._bytes[end - 2 : end]
            if CRC.compute(body) == int.from_bytes(crc, "little"):
                found.append(Frame(body[0], bytes(body[2:])))
                del self._bytes[:end]
            else:
                self._skip()
        return found

    def flush(self):
        """Give up a frame that is not complete; the frames that lie behind its sync byte."""
        found = []
        while self._bytes:
            self._skip()
            found += self.feed(b"")
        return found

    def _complete(self):
        """Drop what lies before the next sync byte; whether its frame is complete."""
        start = self._bytes.find(SYNC)
        del self._bytes[: len(self._bytes) if start < 0 else start]
        return len(self._bytes) >= 3 and len(self._bytes) >= self._bytes[2] + OVERHEAD

    def _skip(self):
        self.damaged += 1
        del self._bytes[0]
