"""Configurations: the machine's parameters, named, from TOML files and from ``--set``."""

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from celosia.generators.machine_kinds import MACHINES
from celosia.reference.checkpoint.files import read_text
from celosia.reference.checkpoint.schema import convert
from celosia.reference.quantization.scheme import WIDE_HEADS, transform_sizes
from celosia.reference.quantization.trits import packed_size
from celosia.reference.units.block_quantize import ACTIVATION_WIDTHS
from celosia.rtl.mac.format import PACKINGS, MacFormat, packs

from celosia.printable import shown

__all__ = [
    "AUTO",
    "NAMED",
    "Config",
    "ConfigError",
    "change_config",
    "load_config",
]

FOLDER = Path(__file__).parent / "configs"


AUTO = "auto"  # chosen by the model: celosia.generators.automatic
NAMED = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
AXI_WIDTHS = 32, 64, 128, 256, 512
FILE_LIMIT = 64 << 10  # bytes of a TOML file


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


@dataclass(frozen=True)
class Config:
    """What a user chooses of a machine; the model says the rest.

    Parameters
    ----------
    machine : str
        ``full``, or ``compact`` for small chips: 8 to 64 weights of 4 or 8 bits a cycle, one
        vector operation at a time, attention over the latest ``window`` positions.
    window : int, 0 or a multiple of 4 to 2048
        Positions that the compact machine's attention sees; 0 for the full one, which sees all.
    weight_parallelism : int, 8 to 4096, a multiple of ``vector_lanes`` squared
        Weights used per cycle.
    token_parallelism : int, 1, 2, 4 or 8
        Tokens of a prompt that one pass of the tape serves.
    vector_lanes : int, a power of two from 2 to 32
        The length of the fabric's dot products, the width of the vector units, and the number of
        activations that share an exponent.
    attention_parallelism : int, 0 or a multiple of ``vector_lanes`` squared
        Codes of cached keys and values used per cycle, at most as many as the fabric has
        multipliers: ``weight_parallelism``, half of it with ``packing`` unless they are narrow
        enough for that, too; with ternary weights these multipliers are there for keys and values
        alone. 0 for all, with ternary weights for a quarter.
    packing : str
        ``18x18`` or ``25x18``: two weights share a multiplier of that size, whose operand holds two
        of 2 to 4 bits, or of 2 to 8. ``none`` where each has its own.
    lut_multipliers : int, 0 to 1024
        Multipliers of the fabric that are made of LUTs instead of the chip's blocks: for chips that
        have fewer of these.
    softmax_lanes : int, 0 or a power of two from ``vector_lanes`` to 64
        Scores that are scaled and exponentiated in a cycle. Where it is not 0, values of several
        blocks of positions are weighted in one beat, as many as heads' channels leave room for in
        the fabric's rows; 0 for one block, and ``vector_lanes`` scores. On chip, without pages,
        and with ``value_steps=channel``.
    sampler_lanes : int, 0 or a power of two up to ``vector_lanes``
        Logits that get their noise in a cycle; 0 for ``vector_lanes``. Fewer cost no cycles where a
        tile of the head takes as many beats as its logits then take to leave.
    gate_lanes : int, 0 or half of ``vector_lanes``
        Gates that are multiplied by their ups in a cycle; 0 for ``vector_lanes``. Half of them cost
        a cycle for each of a layer's gates' last words. For one token at a time.
    weight_width : int, 2 to 8
        Bits of a weight.
    weight_format : str
        ``integer``, or where all weights of a row are -s, 0 and s ``ternary``, in 2 bits each, or
        ``trits``, five in a byte: a fabric without multipliers. In the compact machine ``trits``
        are the layers' weights, as many as a beat of the others has bytes for five;
        ``weight_width`` is that of the head and the embedding.
    group_size : int, 0 or a multiple of ``vector_lanes`` to 256
        Columns of a row that share a scale (and, below 8 bits, an offset); 0 for one per row.
    offset_width : int, 12 or 8
        Bits of a group's offset. 8 make the tape of 4-bit weights in groups of 32 a fortieth
        shorter; with a ``head_width`` of 0 or ``weight_width``.
    head_width : int
        Bits of the head's and the embedding's weights; 0 for ``weight_width``. Twice as many with
        groups; 4 or 8 without, where a word of the tape holds as many of them as keys and values
        have multipliers: with ``packing`` of 4 bits, and with ternary weights.
    activation_width : int, 8, 6, 5 or 4
        Bits of an activation beside its block's exponent. The fabric's operand has 8, since queries
        and exponentials do: what fewer save is memory.
    rotate_down, rotate_keys : int, 0 or a power of two from 2 to ``64 * vector_lanes``
        The Hadamard transform of blocks of so many values in front of each ``down`` matrix, and of
        queries and keys, so that fewer bits hold them; 0 for none.
    max_seq_len : int
        Positions in the KV cache; 0 for the model's own.
    memory : str
        Where the tape lies: ``on_chip``, ``axi`` for external memory behind AXI4 read ports, or
        ``sdram`` for an SDR SDRAM of 32 MB.
    boot : str
        Who fills the SDRAM: the ``host``, or at start a serial ``flash``. Of the compact machine's
        tape ``image``, block RAM's first contents, or ``flash``, which fills the single-port
        memories of an iCE40: these give 16 weights of 4 bits a cycle, or 40 ternary ones.
    axi_width : int, 32 to 512
        Bits of an AXI transfer.
    axi_ports : int, 1 to 16
        AXI ports over which the tape is striped.
    kv_memory : str
        Where keys and values lie: ``on_chip``, or ``axi`` for external memory behind an AXI4
        read/write port of their own.
    kv_axi_width : int, 32 to 512
        Bits of a transfer of that port.
    kv_page_size : int, 0 or a power of two to 1024
        Positions of a page, into which the KV cache of layers without a window is cut; pages are
        taken as the sequence grows. A multiple of the fabric's rows of keys: of
        ``attention_parallelism / vector_lanes``. 0 for one run of all positions.
    kv_pages : int, 0 to 65536
        The number of pages; 0 for as many as ``max_seq_len`` needs.
    key_width, value_width : int, 8, 6 or 4
        Bits of a cached key's or value's code. Values of fewer than 8 need ``value_steps=token``;
        behind AXI codes take 8 bits unless both have 4.
    value_steps : str
        Cached values have a step for each ``channel``, from calibration, or for each head and
        ``token``, as keys have: closer, for a second softmax table.
    key_mean : str
        ``kept``, or ``removed`` from keys on their way into the cache: closer, for an adder.
    control : str
        How a host reaches the machine: ``stream``, by bytes in and out, or ``axi_lite``, by these
        or by registers behind an AXI4-Lite port.
    sampling : str
        Tokens are drawn by a ``temperature``, or the compact machine's are ``greedy``, always the
        likeliest: for chips that have no room for more.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    """

    weight_parallelism: int = 64
    token_parallelism: int = 1
    vector_lanes: int = 8
    attention_parallelism: int = 0
    packing: str = "none"
    lut_multipliers: int = 0
    sampler_lanes: int = 0
    gate_lanes: int = 0
    softmax_lanes: int = 0
    weight_width: int = 8
    weight_format: str = "integer"
    group_size: int = 0
    offset_width: int = 12
    head_width: int = 0
    activation_width: int = 8
    rotate_down: int = 0
    rotate_keys: int = 0
    max_seq_len: int = 0
    memory: str = "on_chip"
    boot: str = "host"
    axi_width: int = 64
    axi_ports: int = 1
    kv_memory: str = "on_chip"
    kv_axi_width: int = 64
    kv_page_size: int = 0
    kv_pages: int = 0
    key_width: int = 8
    value_width: int = 8
    value_steps: str = "channel"
    key_mean: str = "kept"
    control: str = "stream"
    sampling: str = "temperature"
    machine: str = "full"
    window: int = 0
    name: str = "custom"

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, field.type) or isinstance(value, bool):
                kind = {int: "a whole number", str: "a word"}[field.type]
                raise ConfigError(f"{field.name} must be {kind}, not {shown(value)}")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"{name} must be {_either(choices)}, not {shown(value)}")
        self._check_sizes()
        self._check_groups()
        self._check_format()
        if "boot" in self.kind.fixed:
            wanted = (8, 8) if self.ternary else (16, 4)
            found = self.weight_parallelism, self.weight_width
            if self.boot == "flash" and found != wanted:
                raise ConfigError(
                    "boot=flash needs weight_parallelism={} and weight_width={} with "
                    "weight_format={}, not {} and {}".format(*wanted, self.weight_format, *found)
                )
        elif self.boot != "host" and not (self.boot == "flash" and self.memory == "sdram"):
            raise ConfigError(f"boot must be host, or flash with memory=sdram, not {self.boot!r}")
        if self.value_width < 8 and self.value_steps == "channel":
            raise ConfigError(
                f"value_steps must be token with a value_width of {self.value_width}, not channel"
            )
        self._check_pages()
        self._check_kind()

    @property
    def ternary(self):
        """Whether weights are ternary, however many bits they take on the tape."""
        return self.weight_format != "integer"

    def _check_sizes(self):
        for name, least, most in (
            ("weight_parallelism", 8, 4096),
            ("weight_width", 2, 8),
            ("axi_ports", 1, 16),
            ("lut_multipliers", 0, 1024),
        ):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"{name} must be from {least} to {most}, not {getattr(self, name)}"
                )
        if self.vector_lanes not in (2, 4, 8, 16, 32):
            raise ConfigError(
                f"vector_lanes must be a power of two from 2 to 32, not {self.vector_lanes}"
            )
        least = self.kind.least_parallelism(self.vector_lanes)
        if self.weight_parallelism % least:
            square = self.kind.words
            unit = "vector_lanes squared" if square else "twice vector_lanes"
            why = ": a tile's rows leave the fabric in whole words" if square else ""
            raise ConfigError(
                f"weight_parallelism must be a multiple of {unit} ({least}), "
                f"not {self.weight_parallelism}{why}"
            )
        widths = [0, *(self.vector_lanes << n for n in range(7)), 64]
        if self.softmax_lanes not in (n for n in widths if n <= 64):
            raise ConfigError(
                f"softmax_lanes must be 0 or a power of two from vector_lanes "
                f"({self.vector_lanes}) to 64, not {self.softmax_lanes}"
            )
        if self.sampler_lanes not in (0, *(self.vector_lanes >> n for n in range(6))):
            raise ConfigError(
                f"sampler_lanes must be 0 or a power of two up to vector_lanes "
                f"({self.vector_lanes}), not {self.sampler_lanes}"
            )
        half = self.vector_lanes // 2 if self.token_parallelism == 1 else 0
        if self.gate_lanes not in (0, half):
            raise ConfigError(
                "gate_lanes must be 0, or with a token_parallelism of 1 half of vector_lanes "
                f"({self.vector_lanes}), not {self.gate_lanes}"
            )
        for name in ("rotate_down", "rotate_keys"):
            if getattr(self, name) not in transform_sizes(self.vector_lanes):
                raise ConfigError(
                    f"{name} must be 0 or a power of two from 2 to 64 * vector_lanes "
                    f"({64 * self.vector_lanes}), not {getattr(self, name)}"
                )
        if not 0 <= self.max_seq_len < 1 << 20:
            raise ConfigError(
                f"max_seq_len must be from 1 to {(1 << 20) - 1} (0 for the model's), "
                f"not {self.max_seq_len}"
            )

    def _check_groups(self):
        if self.group_size not in range(0, 257, self.vector_lanes):
            raise ConfigError(
                f"group_size must be 0 or a multiple of vector_lanes ({self.vector_lanes}) to 256, "
                f"not {self.group_size}"
            )
        if self.offset_width < 12:
            why = ""
            if not self.group_size or self.weight_width == 8:
                why = "without groups of fewer than 8 bits"
            elif self.head_width not in (0, self.weight_width):
                why = "where the head has more bits than the rest"
            if why:
                raise ConfigError(f"offset_width must be 12 {why}, not {self.offset_width}")
        widths = [0, self.weight_width]
        if self.group_size and self.weight_width <= 4:
            widths.append(2 * self.weight_width)
        room = self.weight_parallelism * self.weight_width
        if self.weight_format == "trits":
            room = 8 * packed_size(self.weight_parallelism)
        if not self.group_size:
            codes = self.cached_rows * self.vector_lanes
            widths += [width for width in WIDE_HEADS if width * codes <= room]
        if self.head_width not in widths:
            raise ConfigError(
                f"head_width must be weight_width ({self.weight_width}), or with a group_size and "
                f"at most 4 bits twice as much, or 4 or 8 where the tape's words hold as many as "
                f"there are multipliers of keys and values, not {self.head_width}"
            )

    def _check_format(self):
        widths = self.kind.open.get("weight_width", (2,))
        if self.ternary and (self.weight_width not in widths or self.group_size):
            raise ConfigError(
                f"weight_format={self.weight_format} needs weight_width=2 and no group_size, not "
                f"weight_width={self.weight_width} and group_size={self.group_size}"
            )
        try:
            ternary = self.ternary and self.weight_width == 2
            form = MacFormat(8, self.weight_width, ternary, self.packing)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        chunk, least = self.vector_lanes**2, form.group * self.vector_lanes**2
        if self.packing != "none" and self.weight_parallelism % least:
            raise ConfigError(
                f"weight_parallelism must be a multiple of twice vector_lanes squared ({least}) "
                f"with packing={self.packing}, not {self.weight_parallelism}"
            )
        multipliers = self.cached_rows if self.ternary else self.rows // form.group
        multipliers *= self.vector_lanes * self.token_parallelism
        if self.lut_multipliers > multipliers:
            raise ConfigError(
                f"lut_multipliers must be at most the fabric's {multipliers} multipliers, "
                f"not {self.lut_multipliers}"
            )
        most = self.weight_parallelism // (1 if self._packs_codes else form.group)
        if self.attention_parallelism not in range(0, most + 1, chunk):
            raise ConfigError(
                f"attention_parallelism must be 0 or a multiple of vector_lanes squared ({chunk}) "
                f"to {most}, not {self.attention_parallelism}"
            )

    def _check_pages(self):
        size = self.kv_page_size
        if size == 0:
            if self.kv_pages:
                raise ConfigError(f"kv_pages must be 0 without a kv_page_size, not {self.kv_pages}")
            return
        if size not in range(1, 1025) or size & (size - 1) or size % self.cached_rows:
            raise ConfigError(
                "kv_page_size must be 0 or a power of two to 1024 that is a multiple of the "
                f"fabric's rows of keys (attention_parallelism, or weight_parallelism, over "
                f"vector_lanes, {self.cached_rows}), not {size}"
            )
        if not 0 <= self.kv_pages <= 1 << 16 or self.kv_pages * size > 1 << 20:
            raise ConfigError(
                f"kv_pages must be from 0 to {min(1 << 16, (1 << 20) // size)} with a kv_page_size "
                f"of {size}, not {self.kv_pages}"
            )

    def _check_kind(self):
        """What the kind of machine fixes."""
        for name, value in self.kind.fixed.items():
            found = getattr(self, name)
            if isinstance(value, range):
                text = f"a multiple of {value.step} from {value[0]} to {value[-1]}"
                if found not in value:
                    raise ConfigError(f"{name} must be {text}, not {found}")
            elif isinstance(value, tuple):
                if found not in value:
                    raise ConfigError(
                        f"{name} must be {_either(value)} for the {self.machine} machine, "
                        f"not {found}"
                    )
            elif found != value:
                raise ConfigError(
                    f"{name} must be {value} for the {self.machine} machine, not {found}"
                )

    @property
    def kind(self):
        """What the machine is: :class:`celosia.generators.machine_kinds.MachineKind`."""
        return MACHINES[self.machine]

    @property
    def samples(self):
        """Whether runs may have a temperature."""
        return self.sampling == "temperature"

    @property
    def rows(self):
        """Rows of the fabric: weights used per cycle over the length of a dot product."""
        return self.weight_parallelism // self.vector_lanes

    @property
    def cached_rows(self):
        """Those of them that keys and values have."""
        if self.attention_parallelism:
            return self.attention_parallelism // self.vector_lanes
        if self.ternary:
            return max(self.rows // 4 // self.vector_lanes, 1) * self.vector_lanes
        return self.rows if self.packing == "none" or self._packs_codes else self.rows // 2

    @property
    def _packs_codes(self):
        """Whether keys and values share multipliers as weights do."""
        return packs(self.packing, max(self.key_width, self.value_width))


def _either(values):
    *most, last = values
    return f"{', '.join(map(str, most))} or {last}"


def _read_config(source):
    """The configuration of a name or a TOML file; errors name the file."""
    path = FOLDER / f"{source}.toml" if source in NAMED else Path(source)
    try:
        values = tomllib.loads(read_text(path, FILE_LIMIT))
    except OSError as e:
        names = ", ".join((AUTO, *NAMED))
        why = e.strerror or e
        raise ConfigError(
            f"{str(source)!r} is no configuration ({names}), nor a file: {why}"
        ) from None
    except RecursionError:
        raise ConfigError(f"{source}: not valid TOML: nested too deeply") from None
    except ValueError as e:
        raise ConfigError(f"{source}: not valid TOML: {e}") from None
    known = [field.name for field in fields(Config)]
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{source}: unknown parameter {shown(name)}; known: {', '.join(known)}"
            )
    try:
        return convert({"name": path.stem, **values}, Config, source)
    except ValueError as e:
        raise ConfigError(str(e)) from None


def load_config(source="small", settings=()):
    """The configuration of a name or a TOML file, changed by ``settings`` (``name=value``).

    Raises
    ------
    ConfigError
        If there is no such configuration, or a name or value is wrong.
    """
    return change_config(_read_config(source), settings)


def change_config(config, settings):
    """``config`` changed by ``settings`` (``name=value``).

    Where they change the parallelism alone, lanes are as many as it allows.

    Raises
    ------
    ConfigError
        If a name or value is wrong.
    """
    names = {field.name: field.type for field in fields(Config)}
    changes = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in names or name == "name":
            known = ", ".join(n for n in names if n != "name")
            raise ConfigError(
                f"--set takes name=value with a name of: {known}; not {shown(setting)}"
            )
        if names[name] is int:
            try:
                changes[name] = int(text, 0)
            except ValueError:
                raise ConfigError(f"{name} must be a whole number, not {shown(text)}") from None
        else:
            changes[name] = text
    if changes:
        lanes = changes.get("vector_lanes")
        parallelism = changes.get("weight_parallelism", config.weight_parallelism)
        if lanes is None and parallelism >= 8:
            lanes = config.vector_lanes
            kind = MACHINES.get(str(changes.get("machine")), config.kind)
            while lanes > 2 and parallelism % kind.least_parallelism(lanes):
                lanes //= 2
            changes["vector_lanes"] = lanes
        config = replace(config, **changes)
    return config
