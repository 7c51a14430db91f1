"""A simulated machine behind the driver."""

import math

from celosia.sim.transport import Clock

__all__ = ["NativeTransport"]


class NativeTransport:
    """Bytes to a simulated chip and back (:class:`celosia.sim.transport.Transport`).

    Times are cycles of the chip, which stands still except while :meth:`receive` waits: however
    busy the computer is, a machine that answers is heard.

    Parameters
    ----------
    simulation : celosia.sim.native.NativeSimulation
    """

    def __init__(self, simulation):
        self._simulation = simulation
        self.clock = Clock(lambda: simulation.cycle, "cycles", answer=4_000_000, byte=100)

    def send(self, data):
        """Queue bytes for the chip."""
        self._simulation.send(data)

    def receive(self, timeout):
        """The bytes that came out of the chip; waits for the first, `timeout` cycles.

        Returns
        -------
        bytes
            Empty if none came.
        """
        if not (data := self._simulation.received()):
            self._simulation.step(max(1, math.ceil(timeout)), until_tx=1)
            data = self._simulation.received()
        return data

    def close(self):
        """Free the chip."""
        self._simulation.close()
