"""What a board cannot do."""

from celosia.generators.config import ConfigError

__all__ = ["BoardError"]


class BoardError(ConfigError):
    """What a board cannot do; the message says what it could."""
