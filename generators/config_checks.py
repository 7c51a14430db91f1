"""What a configuration cannot be: each parameter's range, and those that go together."""

from dataclasses import fields

from celosia.generators.machine_kinds import MACHINES
from celosia.reference.quantization.scheme import WIDE_HEADS, transform_sizes
from celosia.reference.quantization.trits import packed_size
from celosia.reference.units.block_quantize import ACTIVATION_WIDTHS
from celosia.rtl.mac.format import PACKINGS, MacFormat

from celosia.printable import shown

__all__ = ["ConfigError", "check_config"]

AXI_WIDTHS = 32, 64, 128, 256, 512

#: Of fields that take few values: these.
CHOICES = {
    "token_parallelism": (1, 2, 4, 8),
    "weight_format": ("integer", "ternary", "trits"),
    "packing": tuple(PACKINGS),
    "activation_width": ACTIVATION_WIDTHS,
    "memory": ("on_chip", "axi", "sdram"),
    "machine": tuple(MACHINES),
    "axi_width": AXI_WIDTHS,
    "kv_memory": ("on_chip", "axi"),
    "kv_axi_width": AXI_WIDTHS,
    "key_width": (8, 6, 4),
    "value_width": (8, 6, 4),
    "value_steps": ("channel", "token"),
    "key_mean": ("kept", "removed"),
    "offset_width": (12, 8),
    "control": ("stream", "axi_lite"),
    "sampling": ("temperature", "greedy"),
}


class ConfigError(ValueError):
    """A parameter that no machine can have; the message names it."""


def check_config(config):
    """Refuse a Config whose parameters no machine can have.

    Raises
    ------
    ConfigError
        That names the parameter.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if not isinstance(value, field.type) or isinstance(value, bool):
            kind = {int: "a whole number", str: "a word"}[field.type]
            raise ConfigError(f"{field.name} must be {kind}, not {shown(value)}")
    for name, choices in CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            raise ConfigError(f"{name} must be {_either(choices)}, not {shown(value)}")
    _check_sizes(config)
    _check_groups(config)
    _check_format(config)
    if "boot" in config.kind.fixed:
        wanted = (8, 8) if config.ternary else (16, 4)
        found = config.weight_parallelism, config.weight_width
        if config.boot == "flash" and found != wanted:
            raise ConfigError(
                "boot=flash needs weight_parallelism={} and weight_width={} with "
                "weight_format={}, not {} and {}".format(*wanted, config.weight_format, *found)
            )
    elif config.boot != "host" and not (config.boot == "flash" and config.memory == "sdram"):
        raise ConfigError(f"boot must be host, or flash with memory=sdram, not {config.boot!r}")
    if config.value_width < 8 and config.value_steps == "channel":
        raise ConfigError(
            f"value_steps must be token with a value_width of {config.value_width}, not channel"
        )
    _check_pages(config)
    _check_kind(config)


def _check_sizes(config):
    for name, least, most in (
        ("weight_parallelism", 8, 4096),
        ("weight_width", 2, 8),
        ("axi_ports", 1, 16),
        ("lut_multipliers", 0, 1024),
    ):
        if not least <= getattr(config, name) <= most:
            raise ConfigError(f"{name} must be from {least} to {most}, not {getattr(config, name)}")
    if config.vector_lanes not in (2, 4, 8, 16, 32):
        raise ConfigError(
            f"vector_lanes must be a power of two from 2 to 32, not {config.vector_lanes}"
        )
    least = config.kind.least_parallelism(config.vector_lanes)
    if config.weight_parallelism % least:
        square = config.kind.words
        unit = "vector_lanes squared" if square else "twice vector_lanes"
        why = ": a tile's rows leave the fabric in whole words" if square else ""
        raise ConfigError(
            f"weight_parallelism must be a multiple of {unit} ({least}), "
            f"not {config.weight_parallelism}{why}"
        )
    widths = [0, *(config.vector_lanes << n for n in range(7)), 64]
    if config.softmax_lanes not in (n for n in widths if n <= 64):
        raise ConfigError(
            f"softmax_lanes must be 0 or a power of two from vector_lanes "
            f"({config.vector_lanes}) to 64, not {config.softmax_lanes}"
        )
    if config.sampler_lanes not in (0, *(config.vector_lanes >> n for n in range(6))):
        raise ConfigError(
            f"sampler_lanes must be 0 or a power of two up to vector_lanes "
            f"({config.vector_lanes}), not {config.sampler_lanes}"
        )
    half = config.vector_lanes // 2 if config.token_parallelism == 1 else 0
    if config.gate_lanes not in (0, half):
        raise ConfigError(
            "gate_lanes must be 0, or with a token_parallelism of 1 half of vector_lanes "
            f"({config.vector_lanes}), not {config.gate_lanes}"
        )
    for name in ("rotate_down", "rotate_keys"):
        if getattr(config, name) not in transform_sizes(config.vector_lanes):
            raise ConfigError(
                f"{name} must be 0 or a power of two from 2 to 64 * vector_lanes "
                f"({64 * config.vector_lanes}), not {getattr(config, name)}"
            )
    if not 0 <= config.max_seq_len < 1 << 20:
        raise ConfigError(
            f"max_seq_len must be from 1 to {(1 << 20) - 1} (0 for the model's), "
            f"not {config.max_seq_len}"
        )


def _check_groups(config):
    if config.group_size not in range(0, 257, config.vector_lanes):
        raise ConfigError(
            f"group_size must be 0 or a multiple of vector_lanes ({config.vector_lanes}) to 256, "
            f"not {config.group_size}"
        )
    if config.offset_width < 12:
        why = ""
        if not config.group_size or config.weight_width == 8:
            why = "without groups of fewer than 8 bits"
        elif config.head_width not in (0, config.weight_width):
            why = "where the head has more bits than the rest"
        if why:
            raise ConfigError(f"offset_width must be 12 {why}, not {config.offset_width}")
    widths = [0, config.weight_width]
    if config.group_size and config.weight_width <= 4:
        widths.append(2 * config.weight_width)
    room = config.weight_parallelism * config.weight_width
    if config.weight_format == "trits":
        room = 8 * packed_size(config.weight_parallelism)
    if not config.group_size:
        codes = config.cached_rows * config.vector_lanes
        widths += [width for width in WIDE_HEADS if width * codes <= room]
    if config.head_width not in widths:
        raise ConfigError(
            f"head_width must be weight_width ({config.weight_width}), or with a group_size and "
            f"at most 4 bits twice as much, or 4 or 8 where the tape's words hold as many as "
            f"there are multipliers of keys and values, not {config.head_width}"
        )


def _check_format(config):
    widths = config.kind.open.get("weight_width", (2,))
    if config.ternary and (config.weight_width not in widths or config.group_size):
        raise ConfigError(
            f"weight_format={config.weight_format} needs weight_width=2 and no group_size, not "
            f"weight_width={config.weight_width} and group_size={config.group_size}"
        )
    try:
        ternary = config.ternary and config.weight_width == 2
        form = MacFormat(8, config.weight_width, ternary, config.packing)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    chunk, least = config.vector_lanes**2, form.group * config.vector_lanes**2
    if config.packing != "none" and config.weight_parallelism % least:
        raise ConfigError(
            f"weight_parallelism must be a multiple of twice vector_lanes squared ({least}) "
            f"with packing={config.packing}, not {config.weight_parallelism}"
        )
    multipliers = config.cached_rows if config.ternary else config.rows // form.group
    multipliers *= config.vector_lanes * config.token_parallelism
    if config.lut_multipliers > multipliers:
        raise ConfigError(
            f"lut_multipliers must be at most the fabric's {multipliers} multipliers, "
            f"not {config.lut_multipliers}"
        )
    most = config.weight_parallelism // (1 if config.packs_codes else form.group)
    if config.attention_parallelism not in range(0, most + 1, chunk):
        raise ConfigError(
            f"attention_parallelism must be 0 or a multiple of vector_lanes squared ({chunk}) "
            f"to {most}, not {config.attention_parallelism}"
        )


def _check_pages(config):
    size = config.kv_page_size
    if size == 0:
        if config.kv_pages:
            raise ConfigError(f"kv_pages must be 0 without a kv_page_size, not {config.kv_pages}")
        return
    if size not in range(1, 1025) or size & (size - 1) or size % config.cached_rows:
        raise ConfigError(
            "kv_page_size must be 0 or a power of two to 1024 that is a multiple of the "
            f"fabric's rows of keys (attention_parallelism, or weight_parallelism, over "
            f"vector_lanes, {config.cached_rows}), not {size}"
        )
    if not 0 <= config.kv_pages <= 1 << 16 or config.kv_pages * size > 1 << 20:
        raise ConfigError(
            f"kv_pages must be from 0 to {min(1 << 16, (1 << 20) // size)} with a kv_page_size "
            f"of {size}, not {config.kv_pages}"
        )


def _check_kind(config):
    """What the kind of machine fixes."""
    for name, value in config.kind.fixed.items():
        found = getattr(config, name)
        if isinstance(value, range):
            text = f"a multiple of {value.step} from {value[0]} to {value[-1]}"
            if found not in value:
                raise ConfigError(f"{name} must be {text}, not {found}")
        elif isinstance(value, tuple):
            if found not in value:
                raise ConfigError(
                    f"{name} must be {_either(value)} for the {config.machine} machine, not {found}"
                )
        elif found != value:
            raise ConfigError(
                f"{name} must be {value} for the {config.machine} machine, not {found}"
            )


def _either(values):
    *most, last = values
    return f"{', '.join(map(str, most))} or {last}"
