"""The tape of a board's SDRAM as a file: ``celosia build`` writes it, ``celosia load`` sends it."""

import zlib
from typing import Annotated

import msgspec
from celosia.generators.config import ConfigError
from celosia.generators.plan import FLASH_OFFSET
from celosia.reference.checkpoint.files import read_file
from celosia.reference.checkpoint.foreign_json import read_json
from celosia.reference.checkpoint.schema import Size
from celosia.rtl.memory.sdram_bursts import CAPACITY

from celosia.output import named, new_file, new_json

__all__ = ["Record", "read_tape", "write_tape"]

IMAGE, RECORD = "tape.bin", "tape.json"


class Record(msgspec.Struct):
    """tape.json: what the bytes beside it are."""

    model: str
    model_hash: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})+$")]
    bytes: Size
    crc32: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}$")]
    flash_offset: Size | None = None


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
    """The tape in ``folder``: ``(bytes, Record)``.

    Raises
    ------
    ConfigError
        If there is none, or it is not what was written.
    """
    try:
        record = read_json(folder / RECORD, Record)
        image = read_file(folder / IMAGE, 2 * CAPACITY)
    except OSError as error:
        raise ConfigError(
            f"{folder} holds no tape: celosia build --set memory=sdram writes one ({error})"
        ) from None
    except ValueError as error:
        why = str(error).removeprefix(f"{folder / RECORD}: ")
        raise ConfigError(f"{folder / RECORD} is not what celosia build writes: {why}") from None
    if len(image) != record.bytes:
        raise ConfigError(
            f"{folder / IMAGE} has {len(image):,} bytes, not {record.bytes:,}: build it anew"
        )
    if zlib.crc32(image) != int(record.crc32, 16):
        raise ConfigError(f"{folder / IMAGE} has a wrong checksum: build it anew")
    return image, record
