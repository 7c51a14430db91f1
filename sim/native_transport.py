"""A simulated machine behind the driver."""

import time

__all__ = ["NativeTransport"]

BATCH = 1000  # cycles between two looks at the clock


class NativeTransport:
    """Bytes to a simulated chip and back (:class:`celosia.sim.transport.Transport`).

    The chip's time stands still except while :meth:`receive` waits.

    Parameters
    ----------
    simulation : celosia.sim.native.NativeSimulation
    """

    def __init__(self, simulation):
        self._simulation = simulation

    def send(self, data):
        """Queue bytes for the chip."""
        self._simulation.send(data)

    def receive(self, timeout):
        """The bytes that came out of the chip; waits for the first, `timeout` seconds of the host.

        Returns
        -------
        bytes
            Empty if none came.
        """
        deadline = time.monotonic() + timeout
        while not (data := self._simulation.received()):
            if time.monotonic() >= deadline:
                break
            self._simulation.step(BATCH, until_tx=1)
        return data

    def close(self):
        """Free the chip."""
        self._simulation.close()
