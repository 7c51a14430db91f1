"""A file of SentencePiece's, written by hand: byte tokens and four pieces."""

import struct

__all__ = ["write_pieces"]

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def _field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def _piece(text, score, kind):
    body = _field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([3 << 3, kind])
    return _field(1, body)


def write_pieces(path):
    """Write it, unigram: <unk> 0, <s> 1, </s> 2, bytes 3 to 258, hello 259; its path."""
    pieces = [("<unk>", 0, UNKNOWN), ("<s>", 0, CONTROL), ("</s>", 0, CONTROL)]
    pieces += [(f"<0x{value:02X}>", 0, BYTE) for value in range(256)]
    texts = ("\u2581hello", "\u2581", "a")
    pieces += [(text, -index, NORMAL) for index, text in enumerate(texts)]
    trainer = bytes([3 << 3, 1]) + b"\x98\x02\x01"  # model_type, byte_fallback
    path.write_bytes(b"".join(_piece(*each) for each in pieces) + _field(2, trainer))
    return path
