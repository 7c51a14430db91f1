"""The gains of norms: several vectors in one memory, read word by word."""

import numpy as np
from amaranth import Cat, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.utils import ceil_log2
from celosia.rtl.stream.checks import check_range

__all__ = ["check_gains", "read_gains"]


def check_gains(gains, n):
    """``gains`` as a list of arrays.

    Raises
    ------
    ValueError
        Unless they are from 1 to 1024 vectors int16[n].
    """
    gains = [np.asarray(g) for g in gains]
    check_range("len(gains)", len(gains), 1, 1024)
    for g in gains:
        if g.shape != (n,) or not np.array_equal(g, g.astype(np.int16)):
            raise ValueError(f"each of gains must be int16[{n}], not {g!r}")
    return gains


def read_gains(m, gains, lanes, index, number, en, width=16, name="gains"):
    """Gains signed(width)[lanes] of word ``index`` of vector ``number``, an ``en`` later."""
    words = len(gains[0]) // lanes
    init = np.array(gains).reshape(len(gains), words, lanes)
    number, index = number[: ceil_log2(len(gains))], index[: ceil_log2(words)]
    address = Cat(index, number)
    padded = np.zeros((len(gains), 1 << len(index), lanes), np.int64)
    padded[:, :words] = init
    if len(gains) << len(index) > words << len(number):  # the other order leaves fewer holes
        address = Cat(number, index)
        padded = np.zeros((words, 1 << len(number), lanes), np.int64)
        padded[:, : len(gains)] = init.transpose(1, 0, 2)
    rows = padded.reshape(-1, lanes).tolist()
    row = data.ArrayLayout(signed(width), lanes)
    m.submodules[name] = memory = Memory(shape=row, depth=len(rows), init=rows)
    port = memory.read_port()
    m.d.comb += [port.en.eq(en), port.addr.eq(address)]
    return port.data
