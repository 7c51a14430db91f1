"""The check that every component's constructor makes."""

__all__ = ["check_power_of_two", "check_range"]


def check_range(name, value, low, high):
    """Raise ``ValueError`` unless ``value`` is a whole number from ``low`` to ``high``."""
    if value not in range(low, high + 1):
        raise ValueError(f"{name} must be from {low} to {high}, not {value!r}")


def check_power_of_two(name, value, high):
    """Raise ``ValueError`` unless ``value`` is a power of two from 1 to ``high``."""
    if value not in range(1, high + 1) or value & (value - 1):
        raise ValueError(f"{name} must be a power of two from 1 to {high}, not {value!r}")
