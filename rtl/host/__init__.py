"""The host link, the register port, the serial line."""
