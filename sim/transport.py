"""What lies between a driver and a machine, and what is raised when that fails."""

from typing import Protocol

__all__ = ["DriverError", "Transport"]


class DriverError(Exception):
    """The machine does not answer, refuses, or says what cannot be right."""


class Transport(Protocol):
    """Bytes to a machine and back."""

    def send(self, data: bytes) -> None:
        """Give bytes to the machine; returns without waiting for what it says."""

    def receive(self, timeout: float) -> bytes:
        """The bytes that came since the last call; waits up to `timeout` seconds for the first."""

    def close(self) -> None:
        """Give the machine up."""
