"""An SDR SDRAM chip at its pins, which checks every rule of its data sheet."""

from typing import NamedTuple

from celosia.rtl.memory.sdram import Command
from celosia.rtl.memory.sdram_timing import SdramTiming

__all__ = ["SdramChip", "SdramPins", "SdramViolation"]

ROW_WIDTH, BANKS, COLUMNS = 13, 4, 512
LENGTHS = {0: 1, 1: 2, 2: 4, 3: 8}
REFRESHES = 8  # before work


class SdramViolation(AssertionError):
    """A rule was broken; the message says which, by what, and in which cycle."""


class SdramPins(NamedTuple):
    """What the chip sees at an edge of its clock; ``dq`` is None where nobody else drives it."""

    cs_n: int = 1
    ras_n: int = 1
    cas_n: int = 1
    we_n: int = 1
    cke: int = 1
    ba: int = 0
    a: int = 0
    dqm: int = 0
    dq: int | None = None


class SdramChip:
    """A chip of 4 banks, 8192 rows and 512 columns of 16 bits, written word by word.

    :meth:`edge` is called for the edges of its clock, in order; edges without a command, without
    driven data and without data to give may be left out. Not modelled, and refused: auto-precharge,
    write bursts, BURST STOP, power-down, masked reads. Cells that were never written hold noise.

    Parameters
    ----------
    period : number
        Of the clock, in ns.
    timing : SdramTiming, optional

    Raises
    ------
    SdramViolation
        By :meth:`edge`, when a rule is broken.
    """

    def __init__(self, period, timing=None):
        self.period = period
        self.timing = timing or SdramTiming()
        self.cells = {}  # by (bank, row, column)
        self.rows = {}  # the open ones, by bank
        self.mode = None  # (CAS latency, burst length)
        self.refreshes = 0
        self.commands = dict.fromkeys(Command, 0)
        self._steps = []  # of the start: "PRECHARGE", "REFRESH" ..., "MODE"
        self._began = None  # when the chip became ready for work
        self._last = {}  # cycles of (command, bank)
        self._given = {}  # words by the cycle at whose edge they hold
        self._reading = None  # the bank of the last READ
        self._cycle = 0
        if period < self.timing.shortest_period:
            raise SdramViolation(f"period: {period} ns, at least {self.timing.shortest_period}")

    def check_clock(self, phase):
        """Fail if the clock's edge, ``phase`` ns after the pins change, is too near to a change."""
        setup, hold = phase, self.period - phase
        for name, time in (("setup", setup), ("hold", hold)):
            if time < getattr(self.timing, name):
                self._fail(f"{name}: {time:g} ns, at least {getattr(self.timing, name):g}")

    def edge(self, cycle, pins):
        """The word that holds at the next edge, or None where the chip does not drive it."""
        self._cycle = cycle
        if not pins.cke:
            self._fail("cke: low")
        command = Command.NOP
        if not pins.cs_n:
            command = Command(pins.ras_n << 2 | pins.cas_n << 1 | pins.we_n)
        if pins.dq is not None and command != Command.WRITE:
            self._fail("bus: driven without a WRITE")
        self._refresh_debt()
        if command != Command.NOP:
            self.commands[command] += 1
            if command == Command.STOP:
                self._fail("BURST STOP: not modelled")
            getattr(self, f"_{command.name.lower()}")(pins)
            self._last[command, pins.ba] = self._last[command, None] = cycle
        for past in [c for c in self._given if c < cycle - 1]:
            del self._given[past]
        return self._given.get(cycle + 1)

    @property
    def idle(self):
        """Whether the chip has nothing more to give."""
        return not any(cycle > self._cycle for cycle in self._given)

    def finish(self, cycle):
        """Check at the end that no refresh is missing."""
        self._cycle = cycle
        self._refresh_debt()

    def _fail(self, text):
        raise SdramViolation(f"{text}, in cycle {self._cycle}")

    def _since(self, rule, least, event, bank=None):
        """Fail if ``event`` lies less than ``least`` ns back."""
        past = self._last.get((event, bank))
        if past is not None and (self._cycle - past) * self.period < least - 1e-9:
            gap = (self._cycle - past) * self.period
            self._fail(f"{rule}: {gap:g} ns after {event.name}, at least {least:g}")

    def _refresh_debt(self):
        if self._began is not None:
            due = (self._cycle - self._began) * self.period / self.timing.refresh
            if due - self.refreshes >= 2:
                self._fail(f"refresh: {due - self.refreshes:.1f} behind")

    def _settled(self):
        """What holds before every command but the first."""
        self._since("tRFC", self.timing.rfc, Command.REFRESH)
        self._since("tMRD", self.timing.mode_cycles * self.period, Command.MODE)

    def _all_idle(self, what):
        self._settled()
        self._since("tRP", self.timing.rp, Command.PRECHARGE)
        if self.rows:
            self._fail(f"{what}: bank {min(self.rows)} is open")

    def _ready(self):
        self._settled()
        if self._began is None:
            self._fail("start: PRECHARGE of all banks, 8 REFRESH and MODE must come first")

    def _start(self, step):
        if self._cycle * self.period < self.timing.power_up:
            self._fail(f"start: a command before {self.timing.power_up} ns")
        if not self._steps and step != "PRECHARGE":
            self._fail("start: PRECHARGE of all banks must be the first command")
        self._steps.append(step)
        done = self.mode is not None and self._steps.count("REFRESH") >= REFRESHES
        if self._began is None and done:
            self._began, self.refreshes = self._cycle, 0

    def _mode(self, pins):
        latency, length = pins.a >> 4 & 7, pins.a & 7
        self._all_idle("MODE")
        if pins.ba or pins.a >> 10 or pins.a >> 7 & 3 or pins.a >> 3 & 1:
            self._fail(f"MODE: reserved or unmodelled bits in {pins.a:#x}")
        if not pins.a >> 9 & 1:
            self._fail("MODE: write bursts are not modelled")
        if latency not in (2, 3) or length not in LENGTHS:
            self._fail(f"MODE: CAS latency {latency}, burst length code {length}")
        if latency == 2 and self.period < self.timing.cl2_period:
            self._fail(f"MODE: CAS latency 2 with a period of {self.period:g} ns")
        self.mode = (latency, LENGTHS[length])
        self._start("MODE")

    def _refresh(self, pins):
        self._all_idle("REFRESH")
        self.refreshes += 1
        self._start("REFRESH")

    def _precharge(self, pins):
        self._settled()
        everything = pins.a >> 10 & 1
        banks = range(BANKS) if everything else [pins.ba]
        for bank in [bank for bank in banks if bank in self.rows]:
            self._since("tRAS", self.timing.ras, Command.ACTIVATE, bank)
            self._open_time(bank)
            least = max(self.timing.wr, self.timing.write_cycles * self.period)
            self._since("tWR", least, Command.WRITE, bank)
            del self.rows[bank]
        if self._reading in banks:
            self._cut(self._cycle + self.mode[0])
        if everything:
            self._start("PRECHARGE")
        for bank in banks:
            self._last[Command.PRECHARGE, bank] = self._cycle

    def _activate(self, pins):
        self._ready()
        self._since("tRP", self.timing.rp, Command.PRECHARGE, pins.ba)
        self._since("tRC", self.timing.rc, Command.ACTIVATE, pins.ba)
        self._since("tRRD", self.timing.rrd, Command.ACTIVATE)
        if pins.ba in self.rows:
            self._fail(f"ACTIVATE: bank {pins.ba} is open")
        self.rows[pins.ba] = pins.a & ((1 << ROW_WIDTH) - 1)

    def _column(self, pins, what):
        """The row that is open for a READ or WRITE."""
        self._ready()
        self._since("tRCD", self.timing.rcd, Command.ACTIVATE, pins.ba)
        if pins.a >> 9:
            self._fail(f"{what}: auto-precharge, or a column of {pins.a:#x}")
        if pins.ba not in self.rows:
            self._fail(f"{what}: bank {pins.ba} is closed")
        self._open_time(pins.ba)
        return self.rows[pins.ba]

    def _open_time(self, bank):
        opened = self._last[Command.ACTIVATE, bank]
        if (self._cycle - opened) * self.period > self.timing.ras_most:
            self._fail(f"tRAS: bank {bank} was open for more than {self.timing.ras_most} ns")

    def _cut(self, cycle):
        """A burst under way gives nothing from ``cycle`` on."""
        self._given = {c: word for c, word in self._given.items() if c < cycle}

    def _read(self, pins):
        row = self._column(pins, "READ")
        latency, length = self.mode
        first = self._cycle + latency
        if pins.dqm:
            self._fail("READ: masked")
        self._cut(first)
        self._reading = pins.ba
        base = pins.a & ~(length - 1)
        for n in range(length):
            column = base | (pins.a + n) & (length - 1)
            self._given[first + n] = self.cell(pins.ba, row, column)

    def _write(self, pins):
        row = self._column(pins, "WRITE")
        if pins.dq is None:
            self._fail("WRITE: nobody drives the bus")
        if any(cycle >= self._cycle - 1 for cycle in self._given):
            self._fail("bus: a WRITE while the chip still drives it")
        old = self.cell(pins.ba, row, pins.a)
        mask = sum(0xFF << 8 * n for n in range(2) if pins.dqm >> n & 1)
        self.cells[pins.ba, row, pins.a] = old & mask | pins.dq & ~mask

    def cell(self, bank, row, column):
        """What a cell holds."""
        noise = (row * COLUMNS + column) * 0x9E37 + bank * 0x3C6F + 0xA5A5
        return self.cells.get((bank, row, column), noise & 0xFFFF)
