"""Devices that a roofline is drawn for: their published peaks, from TOML files."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from celosia.generators.config import ConfigError
from celosia.reference.checkpoint.files import read_text
from celosia.reference.checkpoint.schema import convert

from celosia.printable import shown

__all__ = ["DEVICES", "Device", "load_device"]

FOLDER = Path(__file__).parent / "devices"
DEVICES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
FILE_LIMIT = 64 << 10  # bytes


@dataclass(frozen=True)
class Device:
    """What a device can do at most.

    Parameters
    ----------
    name : str
    macs_per_second, bytes_per_second : float, more than 0
        Multiply-accumulates of 8 bits, and memory bandwidth.
    memory_bytes : float
    source : str
        Where the numbers come from, and which of them nobody has checked.
    """

    name: str
    macs_per_second: float
    bytes_per_second: float
    memory_bytes: float
    source: str

    def __post_init__(self):
        for name in ("macs_per_second", "bytes_per_second", "memory_bytes"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be more than 0, not {getattr(self, name)!r}")


def load_device(source):
    """The :class:`Device` of a name of ``DEVICES``, or of a TOML file.

    Raises
    ------
    ConfigError
        If there is none, or a field is wrong, missing or unknown; the message names it.
    """
    path = FOLDER / f"{source}.toml" if source in DEVICES else Path(source)
    try:
        values = tomllib.loads(read_text(path, FILE_LIMIT))
    except OSError as error:
        why = error.strerror or error
        names = ", ".join(DEVICES)
        raise ConfigError(f"{str(source)!r} is no device ({names}), nor a file: {why}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from None
    known = [field.name for field in fields(Device)]
    for name in values:
        if name not in known:
            text = f"{source}: unknown field {shown(name)}; known: {', '.join(known)}"
            raise ConfigError(text)
    try:
        return convert(values, Device, str(source))
    except ValueError as error:
        raise ConfigError(str(error)) from None
