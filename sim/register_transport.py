"""A machine behind its register port: the driver's bytes through AXI4-Lite."""

import time

from celosia.rtl.host.axi_registers import IDENTITY, Register

__all__ = ["RegisterTransport"]

CLAIM = 1
POLL = 1e-4  # seconds between two looks


class RegisterTransport:
    """Bytes to a machine and back (:class:`celosia.sim.transport.Transport`), by its registers.

    It takes the host link from the machine's byte streams until :meth:`close`.

    Parameters
    ----------
    read : function
        From a register's byte address to its 32 bits, as a number.
    write : function
        Of a register's byte address and a number.

    Raises
    ------
    ValueError
        If there is no machine at the addresses.
    """

    def __init__(self, read, write):
        found = read(Register.IDENTITY)
        if found != IDENTITY:
            raise ValueError(
                f"register {Register.IDENTITY:#x} must hold {IDENTITY:#x}, not {found:#x}"
            )
        self._read, self._write = read, write
        self._write(Register.CONTROL, CLAIM)

    def send(self, data):
        """Give bytes to the machine, as it has room for them."""
        room = 0
        for byte in data:
            while not room:
                room = self._read(Register.LEVELS) >> 16
            self._write(Register.SEND, byte)
            room -= 1

    def receive(self, timeout):
        """The bytes that came from the machine; waits up to `timeout` seconds for the first."""
        deadline = time.monotonic() + timeout
        while not (count := self._read(Register.LEVELS) & 0xFFFF):
            if time.monotonic() >= deadline:
                return b""
            time.sleep(POLL)
        return bytes(self._read(Register.RECEIVE) & 0xFF for _ in range(count))

    def counters(self):
        """The machine's counters, of the run that goes on or of the last one."""
        count = self._read(Register.N_COUNTERS)
        return [self._read(Register.COUNTERS + 4 * n) for n in range(count)]

    def stop(self):
        """End the run after the current token."""
        self._write(Register.STOP, 1)

    def close(self):
        """Give the host link back to the byte streams."""
        self._write(Register.CONTROL, 0)
