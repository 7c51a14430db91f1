"""What memories deliver: words as fast as they are put together, ahead as far as a buffer goes."""

import numpy as np
from celosia.generators.plan import CLOCK
from celosia.rtl.memory.axi_tape import port_width
from celosia.rtl.memory.gearbox import packed_width
from celosia.rtl.memory.sdram_timing import SdramTiming

__all__ = ["MEMORY_LATENCY", "KvWriter", "Supply", "kv_supply", "tape_supply"]

MEMORY_LATENCY = 20  # cycles from the address of a burst to its first transfer
READER = 5  # from a run to the first burst's address, and from a transfer to its word's first use
SDRAM_LATENCY = 26  # of a read whose page must be opened, to its first word
SDRAM_BUFFER = 1024  # words of 16 bits
BLOCK = 5  # cycles of the external cache to say where a block goes


class Supply:
    """Words for the fetcher, the first one ``latency`` cycles after a run is asked for.

    A word takes ``rate`` cycles; up to ``ready`` may wait. Behind that is a memory of which a word
    takes ``memory_rate`` cycles in the long run, and a buffer of ``buffer`` words.
    """

    def __init__(self, latency=1, rate=1.0, ready=np.inf, memory_rate=0.0, buffer=np.inf):
        self.latency = latency
        self.lines = [(rate, ready), (memory_rate, buffer)]
        self.next = [-1e9, -1e9]  # by which each line allows the next word to be used
        self.ahead = ready == np.inf

    def ask(self, time, words=0):
        """A run is asked for; its first word is let go when ``words`` have come, if any must."""
        time += self.latency + (int(words * self.lines[0][0]) + 1 if words else 0)
        self.next = [max(line, time) for line in self.next]

    def state(self, now):
        """The lines as far as they matter behind ``now``, in whole cycles."""
        if self.ahead:
            return [line if line > now else -1e9 for line in self.next]
        pairs = zip(self.next, self.lines, strict=True)
        return [
            round(max(line, now - rate * ready)) if rate else -1e9 for line, (rate, ready) in pairs
        ]

    def ready(self, begin, words):
        """When the last of ``words`` can be used, if from ``begin`` on only they are waited for."""
        if self.ahead and max(self.next) <= begin:
            return begin + words - 1
        lines = zip(self.next, self.lines, strict=True)
        come = (max(x, begin - r * (n - 1)) + r * (words - 1) for x, (r, n) in lines if r)
        return max(begin + words - 1, int(np.ceil(max(come))))

    def take(self, begin, last, words, tiles=1):
        """When the last beats of tiles of ``words`` begin, that would at ``last``, from ``begin``.

        Parameters
        ----------
        begin : int
        last : int64[tiles]
        words, tiles : int

        Returns
        -------
        int64[tiles]
        """
        if self.ahead and max(self.next) <= begin:
            return last
        # Words wait for activations, too: little more than the next one is there then.
        begin = max(begin, int(last[0]) - words + 1 - int(np.ceil(self.lines[0][0])))
        places, used = words * np.arange(1, tiles + 1), last
        for n, (rate, ready) in enumerate(self.lines):
            if rate:
                first = max(self.next[n], begin - rate * (ready - 1))
                come = np.ceil(first + rate * (places - 1)).astype(np.int64)
                used = np.maximum(used, come)
                self.next[n] = first + rate * words * tiles
        return np.maximum.accumulate(used - places) + places


def _axi(width, data_width, latency, ready):
    """Words of ``width`` bits through an AXI reader."""
    transfers = packed_width(width, data_width) / data_width
    first = READER + latency + (transfers < 1) + max(0, int(np.ceil(transfers)) - 1)
    return Supply(first, max(1.0, transfers), ready if transfers > 1 else np.inf)


def tape_supply(config, shape, frequency=None, latency=MEMORY_LATENCY):
    """The weight tape of a machine of a Config and a MachineShape.

    Parameters
    ----------
    frequency : number, optional
        The clock's, in Hz, of a machine with an SDRAM.
    latency : int
        Cycles of AXI memory.
    """
    ready = 1 + (2 * shape.groups.longest + 2 if shape.groups else 0)
    if config.memory == "axi":
        width = port_width(shape.word_width, config.axi_ports)
        return _axi(width, config.axi_width, latency, ready)
    if config.memory == "sdram":
        frequency, timing = frequency or CLOCK, SdramTiming()
        words = packed_width(shape.word_width, 16) / 16
        period = timing.cycles("refresh", frequency)
        lost = sum(timing.cycles(name, frequency) for name in ("rp", "rfc", "rcd"))
        first = SDRAM_LATENCY + int(np.ceil(words)) - 1
        rate, memory_rate = max(1.0, words), words * period / (period - lost)
        return Supply(first, rate, ready, memory_rate, SDRAM_BUFFER / words)
    return Supply()


def kv_supply(config, shape, latency=MEMORY_LATENCY):
    """Keys and values behind an AXI port; None where they are on chip."""
    if config.kv_memory != "axi":
        return None
    width = shape.places.external_width * shape.places.rows * shape.lanes
    return _axi(width, config.kv_axi_width, latency, 1)


class KvWriter:
    """Blocks of keys and values on their way to AXI memory, one after the other.

    Parameters
    ----------
    config : Config
    shape : MachineShape
    latency : int
        From a block's last transfer to the memory's answer.
    """

    def __init__(self, config, shape, latency=MEMORY_LATENCY):
        size, octets = config.kv_axi_width // 8, shape.lanes * shape.places.external_width // 8
        transfers = max(1, octets // size), max(1, octets * shape.lanes // size)
        self.transfers = dict(zip(("keys", "values"), transfers, strict=True))
        self.latency = latency
        self.free = 0

    def write(self, what, times):
        """When the memory has answered for all blocks that come at ``times``."""
        transfers = self.transfers[what]
        each = max(BLOCK, transfers + 2)
        places = each * np.arange(len(times))
        ends = np.maximum.accumulate(np.maximum(times + 2, self.free) - places) + places + each
        self.free = int(ends[-1])
        return self.free + transfers + 1 + self.latency
