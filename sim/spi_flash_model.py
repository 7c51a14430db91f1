"""A serial flash memory at its pins, which checks how it is read; and itself in cocotb."""

__all__ = ["SpiFlashChip", "SpiFlashViolation"]

FAST_READ, WAKE = 0x0B, 0xAB


class SpiFlashViolation(AssertionError):
    """A rule was broken; the message says which, and when."""


class SpiFlashChip:
    """A chip that was put into power-down, and knows to be woken (ABh) and FAST READ (0Bh).

    :meth:`edge` is called whenever ``cs_n``, ``sck`` or ``copi`` has changed.

    Parameters
    ----------
    contents : bytes
    period : number
        The shortest of ``sck``, in ns; high and low at least 40 % of it.
    wake, rest, setup : number
        From waking to the next command, between commands, and around ``sck``'s rising edge; in ns.
    """

    def __init__(self, contents, period=20, wake=35_000, rest=50, setup=2):
        self.contents = contents
        self.period = period
        self.wake, self.rest, self.setup = wake, rest, setup
        self.commands = []
        self._awake = None  # since when
        self._pins = (1, 0, 0)
        self._bits = None  # of the command under way
        self._selected = self._released = self._rose = self._fell = self._changed = -1e12

    def edge(self, time, cs_n, sck, copi):
        """What ``cipo`` becomes some ns later; None where it does not change."""
        old_cs, old_sck, old_copi = self._pins
        self._pins = (cs_n, sck, copi)
        if copi != old_copi:
            self._check(time, "copi held too short", self._rose, self.setup)
            self._changed = time
        if old_cs and not cs_n:
            if sck:
                self._fail(time, "sck must be low when cs_n falls")
            self._check(time, "too soon after the last command", self._released, self.rest)
            self._selected, self._bits = time, []
        elif cs_n and not old_cs:
            self._check(time, "cs_n rises too soon after sck", self._rose, self.setup)
            self._released = time
            self._end(time)
        elif not cs_n and sck != old_sck:
            return self._clock(time, sck, copi)
        return None

    def _fail(self, time, text):
        raise SpiFlashViolation(f"{text}, at {time:g} ns")

    def _check(self, time, text, since, least):
        if time - since < least - 1e-6:
            self._fail(time, f"{text}: {time - since:g} ns, at least {least:g}")

    def _clock(self, time, sck, copi):
        if sck:
            self._check(time, "sck low too short", self._fell, 0.4 * self.period)
            self._check(time, "sck too fast", self._rose, self.period)
            self._check(time, "cs_n too late", self._selected, self.setup)
            self._check(time, "copi too late", self._changed, self.setup)
            self._rose = time
            self._bits.append(copi)
            if len(self._bits) == 8:
                self._begin(time)
            return None
        self._check(time, "sck high too short", self._rose, 0.4 * self.period)
        self._fell = time
        if self._number(8) != FAST_READ or len(self._bits) < 40:
            return None
        place = len(self._bits) - 40
        address = self._number(32) & 0xFFFFFF
        byte = self.contents[(address + place // 8) % len(self.contents)]
        return byte >> 7 - place % 8 & 1

    def _number(self, n):
        return int("".join(map(str, self._bits[:n])) or "0", 2)

    def _begin(self, time):
        command = self._number(8)
        self.commands.append(command)
        if command not in (FAST_READ, WAKE):
            self._fail(time, f"command {command:02x}h is not modelled")
        if command == FAST_READ:
            if self._awake is None:
                self._fail(time, "the chip is in power-down")
            self._check(time, "too soon after waking", self._awake, self.wake)

    def _end(self, time):
        n = len(self._bits)
        if n < 8 or (self._number(8) == FAST_READ and n % 8):
            self._fail(time, f"cs_n rises after {n} bits")
        if self._number(8) == WAKE:
            self._awake = time
