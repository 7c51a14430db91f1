"""The tape of a board's SDRAM as a file: ``celosia build`` writes it, ``celosia load`` sends it."""

import json
import zlib

from celosia.generators.config import ConfigError
from celosia.generators.plan import FLASH_OFFSET

from celosia.output import named, new_file, new_json

__all__ = ["read_tape", "write_tape"]

IMAGE, RECORD = "tape.bin", "tape.json"


def write_tape(plan, folder):
    """Write ``tape.bin``, the SDRAM's bytes, and ``tape.json``, what they should be."""
    image = plan.images()[0].tobytes()
    record = {
        "model": plan.info.name,
        "model_hash": plan.info.model_hash.hex(),
        "bytes": len(image),
        "crc32": f"{zlib.crc32(image):08x}",
    }
    if plan.config.boot == "flash":
        record["flash_offset"] = FLASH_OFFSET
    (folder / RECORD).unlink(missing_ok=True)
    with new_file(folder / IMAGE) as unfinished, named(folder / IMAGE):
        unfinished.write_bytes(image)
    with new_json(folder / RECORD) as write_json:
        write_json(record)


def read_tape(folder):
    """The tape in ``folder``: ``(bytes, record)``.

    Raises
    ------
    ConfigError
        If there is none, or it is not what was written.
    """
    try:
        record = json.loads((folder / RECORD).read_text())
        image = (folder / IMAGE).read_bytes()
        size, crc = record["bytes"], int(record["crc32"], 16)
        bytes.fromhex(record["model_hash"])
    except OSError as error:
        raise ConfigError(
            f"{folder} holds no tape: celosia build --set memory=sdram writes one ({error})"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{folder / RECORD} is not what celosia build writes") from None
    if len(image) != size:
        raise ConfigError(f"{folder / IMAGE} has {len(image):,} bytes, not {size:,}: build it anew")
    if zlib.crc32(image) != crc:
        raise ConfigError(f"{folder / IMAGE} has a wrong checksum: build it anew")
    return image, record
