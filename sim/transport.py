"""What lies between a driver and a machine, and what is raised when that fails."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["SECONDS", "Clock", "DriverError", "Transport"]


class DriverError(Exception):
    """The machine does not answer, refuses, or says what cannot be right."""


@dataclass(frozen=True)
class Clock:
    """By what the time of a machine is measured, and what it may take.

    Parameters
    ----------
    now : function
        The time, since whenever.
    unit : str
        Of all these times.
    answer : float
        In which a command is answered.
    byte : float
        In which the machine looks at a byte of its memory, at most.
    """

    now: Callable[[], float]
    unit: str
    answer: float
    byte: float


SECONDS = Clock(time.monotonic, "s", answer=2.0, byte=1e-6)


class Transport(Protocol):
    """Bytes to a machine and back.

    One whose machine has a time of its own says so by an attribute ``clock``; the others' times
    are seconds (:data:`SECONDS`).
    """

    def send(self, data: bytes) -> None:
        """Give bytes to the machine; returns without waiting for what it says."""

    def receive(self, timeout: float) -> bytes:
        """The bytes that came since the last call; waits up to `timeout` for the first."""
        ...

    def close(self) -> None:
        """Give the machine up."""
