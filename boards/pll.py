"""The ECP5's phase-locked loop: which clocks it makes of another one."""

from dataclasses import dataclass

from amaranth import Instance, Signal
from celosia.boards.clock import best_loop

__all__ = ["USB_CLOCK", "Ecp5Pll", "plan_pll", "plan_usb_pll"]

OSCILLATOR = (400e6, 800e6)  # the data sheet's range, in Hz
USB_CLOCK = 48e6
USB_TOLERANCE = 2000e-6  # of the 2,500 ppm that USB leaves a device; crystals are off, too


@dataclass(frozen=True)
class Ecp5Pll:
    """A clock of ``source * multiply / divide``.

    The loop compares at the source's own frequency, its oscillator runs at ``source * multiply``.

    Parameters
    ----------
    source : float
        In Hz.
    multiply, divide : int
    """

    source: float
    multiply: int
    divide: int

    @property
    def frequency(self):
        """In Hz."""
        return self.source * self.multiply / self.divide

    def drive(self, m, source, running, late=None, steps=0):
        """Add the loop to ``m``: of the clock ``source`` it makes ``running``, once it has locked.

        ``late`` as for :meth:`instance`. Returns the signal that the loop has locked.
        """
        clock, locked = Signal(name="clock"), Signal(name="locked")
        m.submodules.pll = self.instance(source, clock, locked, late, steps)
        m.submodules.gate = Instance("DCCA", i_CLKI=clock, i_CE=locked, o_CLKO=running)
        return locked

    def instance(self, source, clock, locked, late=None, steps=0):
        """The primitive between these signals.

        ``late`` is the same clock, ``steps`` cycles of the oscillator later.
        """
        feedback = Signal()
        more = {}
        if late is not None:
            more = {
                "a_FREQUENCY_PIN_CLKOS2": f"{self.frequency / 1e6:.6g}",
                "p_CLKOS2_ENABLE": "ENABLED",
                "p_CLKOS2_DIV": self.divide,
                "p_CLKOS2_CPHASE": self.divide - 1 + steps,
                "p_CLKOS2_FPHASE": 0,
                "o_CLKOS2": late,
            }
        quiet = ("RST", "STDBY", "PHASESEL0", "PHASESEL1", "PHASEDIR", "PHASESTEP")
        quiet += ("PHASELOADREG", "PLLWAKESYNC", "ENCLKOP", "ENCLKOS")
        return Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.source / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.source / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS=f"{self.frequency / 1e6:.6g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=1,
            p_CLKFB_DIV=1,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=self.multiply,
            p_CLKOP_CPHASE=self.multiply - 1,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=self.divide,
            p_CLKOS_CPHASE=self.divide - 1,
            p_CLKOS_FPHASE=0,
            i_CLKI=source,
            i_CLKFB=feedback,
            **{f"i_{name}": 0 for name in quiet},
            o_CLKOP=feedback,
            o_CLKOS=clock,
            o_LOCK=locked,
            **more,
        )


def plan_pll(source, frequency):
    """The loop whose clock is nearest to ``frequency`` (in Hz) without exceeding it.

    Raises
    ------
    ValueError
        If no clock within 2 % of it can be made.
    """
    return best_loop(_loops(source), source, frequency)


def plan_usb_pll(source):
    """The loop whose clock is nearest to USB's 48 MHz; of 25 MHz it makes 48.08 MHz.

    Raises
    ------
    ValueError
        If no clock within 2,000 ppm of it can be made.
    """
    best = min(_loops(source), key=lambda loop: abs(loop.frequency - USB_CLOCK))
    if abs(best.frequency / USB_CLOCK - 1) > USB_TOLERANCE:
        raise ValueError(f"no clock for USB, 48 MHz, can be made of {source / 1e6:g} MHz")
    return best


def _loops(source):
    multiples = [n for n in range(1, 129) if OSCILLATOR[0] <= source * n <= OSCILLATOR[1]]
    return [Ecp5Pll(source, n, divide) for n in multiples for divide in range(1, 129)]
