"""The SDRAM model: it gives what was written, and sees every rule that is broken."""

import pytest
from celosia.rtl.memory.sdram import Command
from celosia.rtl.memory.sdram_timing import SdramTiming
from celosia.sim.sdram_model import SdramChip, SdramPins, SdramViolation

PERIOD = 10.0  # ns
WAKE = 20_000  # cycles
MODE = 1 << 9 | 2 << 4 | 3  # single writes, CAS latency 2, bursts of 8
ALL = 1 << 10


class Script:
    """Gives commands to a chip, each ``gap`` cycles after the one before."""

    def __init__(self, chip=None):
        self.chip = chip or SdramChip(PERIOD)
        self.cycle = 0

    def give(self, command, gap=1, ba=0, a=0, **more):
        self.cycle += gap
        bits = Command[command].value
        pins = SdramPins(0, bits >> 2, bits >> 1 & 1, bits & 1, 1, ba, a, **more)
        return self.chip.edge(self.cycle, pins)

    def rest(self, cycles):
        """The words that the chip gives in these cycles."""
        words = []
        for _ in range(cycles):
            self.cycle += 1
            words.append(self.chip.edge(self.cycle, SdramPins()))
        return words

    def start(self, refreshes=8):
        self.give("PRECHARGE", WAKE, a=ALL)
        self.give("REFRESH", 3)
        for _ in range(refreshes - 1):
            self.give("REFRESH", 7)
        self.give("MODE", 7, a=MODE)
        return self


def started():
    return Script().start()


def test_gives_bursts_and_keeps_writes():
    s = started()
    s.give("ACTIVATE", 2, ba=1, a=5)
    s.give("WRITE", 3, ba=1, a=6, dq=0x1234)
    s.give("WRITE", 1, ba=1, a=7, dq=0xABCD, dqm=1)
    old = s.chip.cell(1, 5, 7) & 0xFF
    assert s.give("READ", 1, ba=1, a=6) is None
    words = s.rest(9)
    assert words[:2] == [0x1234, 0xAB00 | old]  # each holds at the edge after
    assert words[2:8] == [s.chip.cell(1, 5, column) for column in range(6)]
    assert words[8] is None
    assert s.chip.idle


def test_a_read_ends_the_one_before_and_a_precharge_both():
    s = started()
    s.give("ACTIVATE", 2, a=5)
    s.give("READ", 3, a=0)
    words = [s.give("READ", 1, a=64), s.give("PRECHARGE", 4), *s.rest(3)]
    cell = s.chip.cell
    assert words[0] == cell(0, 5, 0)
    assert words[1] == cell(0, 5, 64 + 3)
    assert words[2:] == [None, None, None]


def test_addresses_wrap_within_the_burst():
    s = started()
    s.give("ACTIVATE", 2)
    s.give("READ", 3, a=13)
    columns = [13, 14, 15, 8, 9, 10, 11, 12]
    assert s.rest(8) == [s.chip.cell(0, 0, column) for column in columns]


def opened(bank=0, row=0):
    s = started()
    s.give("ACTIVATE", 2, ba=bank, a=row)
    return s


def tRCD(what):
    s = opened()
    s.give(what, 2, **({"dq": 1} if what == "WRITE" else {}))


def tRP(what):
    s = opened()
    s.give("PRECHARGE", 5)
    s.give(what, 2, **({"a": MODE} if what == "MODE" else {}))


def tRAS():
    opened().give("PRECHARGE", 4)


def tRAS_most(what):
    s = started()
    s.chip.timing = SdramTiming(refresh=1e9)
    s.give("ACTIVATE", 2)
    s.give(what, 10_001, **({"dq": 1} if what == "WRITE" else {}))


def tRC():
    chip = SdramChip(PERIOD, SdramTiming(rc=90))
    s = Script(chip).start()
    s.give("ACTIVATE", 2)
    s.give("PRECHARGE", 5)
    s.give("ACTIVATE", 3)


def tRRD():
    opened().give("ACTIVATE", 1, ba=1)


def tWR():
    s = opened()
    s.give("WRITE", 6, dq=1)
    s.give("PRECHARGE", 1, a=ALL)


def tRFC(what):
    s = started()
    s.give("REFRESH", 2)
    s.give(what, 6, **({"a": MODE} if what == "MODE" else {}))


def tMRD(what):
    started().give(what, 1)


def after_mode(**more):
    s = Script()
    s.give("PRECHARGE", WAKE, a=ALL)
    s.give("MODE", 3, **more)


def late_refresh():
    s = started()
    s.give("REFRESH", 2)
    s.give("ACTIVATE", 3 * 782)


def too_few_refreshes():
    Script().start(refreshes=7).give("ACTIVATE", 5)


def read_then_write(gap):
    s = opened()
    s.give("READ", 3)
    for _ in range(gap - 1):
        s.rest(1)
    s.give("WRITE", 1, dq=1)


def too_early():
    Script().give("PRECHARGE", WAKE - 1, a=ALL)


def wrong_first(what, **more):
    Script().give(what, WAKE, **more)


def fast_clock():
    SdramChip(6.9)


def fast_mode():
    s = Script(SdramChip(9.0))
    s.give("PRECHARGE", 30_000, a=ALL)
    s.give("MODE", 3, a=MODE)


def slow_refresh_at_the_end():
    s = started()
    s.chip.finish(s.cycle + 3 * 782)


RULES = [
    (lambda: tRCD("READ"), "tRCD: 20 ns after ACTIVATE, at least 21, in cycle"),
    (lambda: tRCD("WRITE"), "tRCD: 20 ns"),
    (lambda: tRP("ACTIVATE"), "tRP: 20 ns after PRECHARGE, at least 21"),
    (lambda: tRP("REFRESH"), "tRP: 20 ns"),
    (lambda: tRP("MODE"), "tRP: 20 ns"),
    (tRAS, "tRAS: 40 ns after ACTIVATE, at least 45"),
    (lambda: tRAS_most("READ"), "tRAS: bank 0 was open for more than 100000 ns"),
    (lambda: tRAS_most("WRITE"), "tRAS: bank 0 was open"),
    (lambda: tRAS_most("PRECHARGE"), "tRAS: bank 0 was open"),
    (tRC, "tRC: 80 ns after ACTIVATE, at least 90"),
    (tRRD, "tRRD: 10 ns after ACTIVATE, at least 15"),
    (tWR, "tWR: 10 ns after WRITE, at least 20"),
    (lambda: tRFC("ACTIVATE"), "tRFC: 60 ns after REFRESH, at least 67.5"),
    (lambda: tRFC("REFRESH"), "tRFC: 60 ns"),
    (lambda: tRFC("PRECHARGE"), "tRFC: 60 ns"),
    (lambda: tRFC("MODE"), "tRFC: 60 ns"),
    (lambda: tMRD("ACTIVATE"), "tMRD: 10 ns after MODE, at least 20"),
    (lambda: tMRD("REFRESH"), "tMRD: 10 ns"),
    (late_refresh, r"refresh: 2\.\d behind"),
    (slow_refresh_at_the_end, r"refresh: 3\.\d behind"),
    (too_early, "start: a command before 200000 ns"),
    (lambda: wrong_first("REFRESH"), "start: PRECHARGE of all banks must be the first command"),
    (lambda: wrong_first("MODE", a=MODE), "start: PRECHARGE of all banks must be the first"),
    (lambda: wrong_first("ACTIVATE"), "start: PRECHARGE of all banks, 8 REFRESH and MODE must"),
    (too_few_refreshes, "start: PRECHARGE of all banks, 8 REFRESH and MODE must come first"),
    (lambda: after_mode(a=MODE & ~(1 << 9)), "MODE: write bursts are not modelled"),
    (lambda: after_mode(a=MODE | 8), "MODE: reserved or unmodelled bits"),
    (lambda: after_mode(a=1 << 9 | 1 << 4 | 3), "MODE: CAS latency 1, burst length code 3"),
    (lambda: after_mode(a=1 << 9 | 2 << 4 | 7), "MODE: CAS latency 2, burst length code 7"),
    (fast_mode, "MODE: CAS latency 2 with a period of 9 ns"),
    (fast_clock, "period: 6.9 ns, at least 7"),
    (lambda: opened().give("ACTIVATE", 8), "ACTIVATE: bank 0 is open"),
    (lambda: opened().give("REFRESH", 8), "REFRESH: bank 0 is open"),
    (lambda: opened().give("MODE", 8, a=MODE), "MODE: bank 0 is open"),
    (lambda: opened().give("READ", 8, ba=1), "READ: bank 1 is closed"),
    (lambda: opened().give("WRITE", 8, ba=1, dq=1), "WRITE: bank 1 is closed"),
    (lambda: opened().give("READ", 8, a=ALL), "READ: auto-precharge, or a column of 0x400"),
    (lambda: opened().give("READ", 8, dqm=1), "READ: masked"),
    (lambda: opened().give("WRITE", 8), "WRITE: nobody drives the bus"),
    (lambda: opened().give("READ", 8, dq=1), "bus: driven without a WRITE"),
    (lambda: read_then_write(2), "bus: a WRITE while the chip still drives it"),
    (lambda: read_then_write(10), "bus: a WRITE while the chip still drives it"),
    (lambda: opened().give("STOP", 8), "BURST STOP: not modelled"),
    (lambda: started().chip.edge(30_000, SdramPins(cke=0)), "cke: low"),
    (lambda: SdramChip(10).check_clock(1.4), "setup: 1.4 ns, at least 1.5"),
    (lambda: SdramChip(10).check_clock(9.3), "hold: 0.7 ns, at least 0.8"),
]


@pytest.mark.parametrize(("breach", "message"), RULES)
def test_sees_the_breach(breach, message):
    with pytest.raises(SdramViolation, match=message):
        breach()


def test_what_is_just_in_time():
    s = started()
    s.give("ACTIVATE", 2)
    s.give("ACTIVATE", 2, ba=1)
    s.give("READ", 3, ba=1)
    s.give("WRITE", 11, dq=1)
    s.give("PRECHARGE", 2, a=ALL)
    s.give("ACTIVATE", 3)
    s.give("PRECHARGE", 5)
    s.give("REFRESH", 3)
    s.give("REFRESH", 7)
    s.give("MODE", 7, a=MODE)
    s.give("ACTIVATE", 2)
    for _ in range(3):
        s.give("PRECHARGE", 700, a=ALL)
        s.give("REFRESH", 3)
        s.give("ACTIVATE", 7)
    s.chip.finish(s.cycle + 781)
