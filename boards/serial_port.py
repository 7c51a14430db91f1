"""A machine on a board, behind a serial port."""

import contextlib
import termios
import time

from celosia.sim.driver import Driver
from celosia.sim.toolchain import ToolError
from celosia.sim.transport import DriverError

__all__ = ["RATES", "SerialTransport", "open_board"]

RATES = (3_000_000, 1_000_000)  # bits per second that boards have where nobody says another rate
ANSWER = 0.5  # seconds in which a machine answers, if the rate is right
PATIENCE = 10.0  # seconds in which the line takes what it is given; a frame has 258 bytes


class SerialTransport:
    """Bytes to a board and back (:class:`celosia.sim.transport.Transport`).

    Parameters
    ----------
    port : str
        The serial port's name: ``/dev/ttyUSB0``, ``/dev/ttyACM0``, ``COM3``, or a URL of pyserial.
    baud : int

    Raises
    ------
    celosia.sim.driver.DriverError
        If the port cannot be opened, or, later, when the board was unplugged.
    celosia.sim.toolchain.ToolError
        If pyserial is not installed.
    """

    def __init__(self, port, baud):
        try:
            import serial
        except ImportError:
            raise ToolError(
                "a board needs pyserial: pip install pyserial (or celosia[boards])"
            ) from None
        self.port = port
        self._failures = (serial.SerialException, OSError, termios.error)
        options = {"baudrate": baud, "timeout": 0, "write_timeout": PATIENCE}
        try:
            self._line = serial.serial_for_url(port, **options)
        except (*self._failures, ValueError) as error:  # ValueError: of the rate, or of a URL
            raise DriverError(f"{port} cannot be opened: {error}") from None

    def send(self, data):
        """Give bytes to the board."""
        try:
            self._line.write(data)
        except self._failures as error:
            raise self._gone(error) from None

    def receive(self, timeout):
        """The bytes that came since the last call; waits up to `timeout` seconds for the first."""
        deadline = time.monotonic() + timeout
        try:
            self._line.timeout = max(0.0, deadline - time.monotonic())
            first = self._line.read(1)
            self._line.timeout = 0
            return first + (self._line.read(4096) if first else b"")
        except self._failures as error:
            raise self._gone(error) from None

    def close(self):
        """Close the port."""
        with contextlib.suppress(*self._failures):  # it may have gone
            self._line.close()

    def _gone(self, error):
        return DriverError(f"the board at {self.port} is gone: is it plugged in? ({error})")


def open_board(port, baud=None):
    """A :class:`SerialTransport` of ``baud``; without, of the first of ``RATES`` that is answered.

    At the last of them it is open whether or not anybody answers.
    """
    *rates, last = RATES if baud is None else (baud,)
    for rate in rates:
        with contextlib.suppress(DriverError):
            transport = SerialTransport(port, rate)
            with contextlib.ExitStack() as unless_right:
                unless_right.callback(transport.close)
                Driver(transport, timeout=ANSWER).reset()
                unless_right.pop_all()
                return transport
    return SerialTransport(port, last)
