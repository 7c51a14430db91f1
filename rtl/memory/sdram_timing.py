"""What an SDR SDRAM asks of its controller: times in nanoseconds, and the same in clock cycles."""

from dataclasses import dataclass, fields
from fractions import Fraction

__all__ = ["SdramTiming"]


@dataclass(frozen=True)
class SdramTiming:
    """The times of a chip, in ns; the defaults hold for all chips that a ULX3S carries.

    Each is the longest (``oh`` the shortest) of those in the data sheets of AS4C16M16SA-7,
    MT48LC16M16A2-75, IS42S16160G-7 and W9825G6KH-6.

    Parameters
    ----------
    rcd, rp : number
        ACTIVATE to READ or WRITE, PRECHARGE to ACTIVATE.
    ras, ras_most, rc : number
        ACTIVATE to PRECHARGE, at least and at most; ACTIVATE to ACTIVATE of the same bank.
    rrd : number
        ACTIVATE to ACTIVATE of another bank.
    wr : number
        The last written word to PRECHARGE. At least 2 cycles.
    rfc : number
        REFRESH to whatever comes next.
    refresh : number
        Between two refreshes on the average: 64 ms for 8192 rows.
    power_up : number
        Of a steady clock before the first command.
    cl2_period : number
        The shortest clock period with a CAS latency of 2; with 3 it is ``shortest_period``.
    shortest_period : number
    ac, oh : number
        The clock's edge to valid data, and how long they hold after the next one.
    setup, hold : number
        Of commands, addresses and data around the clock's edge.

    Raises
    ------
    ValueError
        If a time is not above 0.
    """

    rcd: float = 21
    rp: float = 21
    ras: float = 45
    ras_most: float = 100_000
    rc: float = 67.5
    rrd: float = 15
    wr: float = 15
    rfc: float = 67.5
    refresh: float = 7812.5
    power_up: float = 200_000
    cl2_period: float = 10
    shortest_period: float = 7
    ac: float = 6
    oh: float = 2.5
    setup: float = 1.5
    hold: float = 0.8

    mode_cycles = 2  # after MODE SET
    write_cycles = 2  # from the last written word to PRECHARGE

    def __post_init__(self):
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be above 0, not {getattr(self, field.name)!r}")

    def cycles(self, name, frequency):
        """The least whole number of cycles of ``frequency`` (in Hz) that last as long."""
        exact = Fraction(getattr(self, name)) * Fraction(frequency) / 10**9
        return -(-exact.numerator // exact.denominator)

    def cas_latency(self, frequency):
        """2 where the clock allows it, else 3.

        Raises
        ------
        ValueError
            If the clock is too fast for the chip.
        """
        period = 10**9 / Fraction(frequency)
        if period < self.shortest_period:
            fastest = 1000 / self.shortest_period
            raise ValueError(
                f"frequency must be at most {fastest:g} MHz for this SDRAM, not "
                f"{frequency / 1e6:g} MHz"
            )
        return 2 if period >= self.cl2_period else 3
