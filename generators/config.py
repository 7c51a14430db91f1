"""Configurations: the machine's parameters, named, from TOML files and from ``--set``."""

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from celosia.generators.config_checks import ConfigError, check_config
from celosia.generators.machine_kinds import MACHINES
from celosia.reference.checkpoint.files import read_text
from celosia.reference.checkpoint.schema import convert
from celosia.rtl.mac.format import packs

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
FILE_LIMIT = 64 << 10  # bytes of a TOML file


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
        check_config(self)

    @property
    def ternary(self):
        """Whether weights are ternary, however many bits they take on the tape."""
        return self.weight_format != "integer"

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
        return self.rows if self.packing == "none" or self.packs_codes else self.rows // 2

    @property
    def packs_codes(self):
        """Whether keys and values share multipliers as weights do."""
        return packs(self.packing, max(self.key_width, self.value_width))


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
