"""The memory images of a tape in external memory: a stream of packed words for each AXI port."""

import numpy as np
from celosia.rtl.memory.axi_tape import port_width
from celosia.rtl.memory.gearbox import packed_width

__all__ = ["FLASH_OFFSET", "port_images"]

FLASH_OFFSET = 1 << 21  # bytes of a board's flash before the tape: a bitstream lies there
CHUNK = 1 << 23  # bits unpacked at once


def port_images(words, width, data_width, ports=1):
    """What the memory behind each port of an :class:`celosia.rtl.memory.axi_tape.AxiTape` holds.

    Port ``p`` has bits ``p * part`` to ``(p + 1) * part - 1`` of every word, where ``part`` is
    ``ceil(width / ports)``; there word ``n`` begins at bit ``n * packed_width(part, data_width)``,
    the lowest bit of a byte first. Padding, also to a whole transfer at the end, is 0.

    Parameters
    ----------
    words : uint8[n, ceil(width / 8)]
        The tape's words in order, each little-endian, in any memory: they are read in chunks.
    width : int, at least 1
        Bits of a word, any number. Bits beyond it are ignored.
    data_width : int, a power of two to 1024
        Bits of an AXI transfer.
    ports : int, 1 to 16

    Returns
    -------
    list of uint8[bytes]
        One for each port, all of the same size.

    Raises
    ------
    ValueError
        If the words have another width.
    """
    n, size = words.shape
    if size != -(-width // 8):
        raise ValueError(f"words of {width} bits must have {-(-width // 8)} bytes, not {size}")
    part = port_width(width, ports)
    stride = packed_width(part, data_width)
    total = -(-n * stride // data_width) * data_width // 8
    images = np.zeros((ports, total), np.uint8)
    if width % 8 == 0 and part % 8 == 0 and stride % 8 == 0:
        padded = np.zeros((n, ports * part // 8), np.uint8)
        padded[:, :size] = words
        slices = padded.reshape(n, ports, part // 8).transpose(1, 0, 2)
        view = images[:, : n * stride // 8].reshape(ports, n, stride // 8)
        view[:, :, : part // 8] = slices
        return list(images)
    step = max(CHUNK // (stride * ports), 1) * 8  # words: whole bytes
    for first in range(0, n, step):
        chunk = words[first : first + step]
        bits = np.zeros((len(chunk), ports * part), np.uint8)
        bits[:, :width] = np.unpackbits(chunk, axis=1, count=width, bitorder="little")
        placed = np.zeros((ports, len(chunk), stride), np.uint8)
        placed[:, :, :part] = bits.reshape(-1, ports, part).transpose(1, 0, 2)
        packed = np.packbits(placed.reshape(ports, -1), axis=1, bitorder="little")
        start = first * stride // 8
        images[:, start : start + packed.shape[1]] = packed
    return list(images)
