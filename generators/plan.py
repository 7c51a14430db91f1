"""The plan: a quantised model and a configuration become a machine's sizes, tapes and program."""

import hashlib
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from celosia.generators.compact.plan import make_compact_plan
from celosia.generators.config import Config, ConfigError
from celosia.generators.files.memory_map import formats, memory_map
from celosia.generators.program.group_parts import group_format, pack_words
from celosia.generators.program.program import Tapes, write_program
from celosia.generators.program.tape_image import FLASH_OFFSET, port_images
from celosia.generators.unit_check import check_units
from celosia.protocol.messages import Info
from celosia.reference import integer
from celosia.reference.compact.quantize import CompactScheme
from celosia.reference.operations import Attention, Experts, Gate, Recur
from celosia.reference.quantization.quantize import QuantizedModel, Scheme
from celosia.reference.quantization.trits import pack_trits
from celosia.reference.units.bias import BIAS_WIDTH
from celosia.reference.view import layer_view
from celosia.rtl.machine.machine import Machine
from celosia.rtl.machine.routes import watched
from celosia.rtl.machine.run_counters import COUNTERS
from celosia.rtl.machine.shape import AxiMemory, MachineShape, SdramMemory
from celosia.rtl.memory.gearbox import packed_width
from celosia.rtl.memory.sdram_bursts import CAPACITY

__all__ = ["CLOCK", "FLASH_OFFSET", "Plan", "digest", "machine_shape", "machine_views", "make_plan"]
__all__ += ["scheme_of", "settled", "with_length"]

FLASH_SIZE = 1 << 24
CLOCK = 80e6  # Hz, of an SDRAM where there is no board to say so


@dataclass(frozen=True)
class Plan:
    """All that a machine is made of.

    Parameters
    ----------
    config : Config
    model : QuantizedModel
    shape : MachineShape
    tapes : Tapes
    info : Info
    """

    config: Config
    model: QuantizedModel
    shape: MachineShape
    tapes: Tapes
    info: Info

    counters = COUNTERS

    @property
    def program(self):
        """The program."""
        return self.tapes.program

    @property
    def watched(self):
        """The units in the order of their bits in the machine's ``activity``."""
        return watched(self.shape, self.program)

    @property
    def contents(self):
        """What the machine's memories hold, as arrays."""
        t = self.tapes
        parts = (t.weights, t.parts, t.ends, t.scales, t.biases, *t.gains.values())
        return [part for part in parts if part is not None]

    @property
    def hex_images(self):
        """The contents of on-chip memories: ``{name: (int[words, ...], bits of a value)}``."""
        images = {
            "scales": (self.tapes.scales, 16),
            "gains": (
                np.concatenate([*self.tapes.gains.values()]).reshape(-1, self.shape.lanes),
                16,
            ),
        }
        if len(self.tapes.biases):
            images["biases"] = self.tapes.biases, BIAS_WIDTH
        if self.config.memory == "on_chip":
            images["weights"] = self.tape_words(), 8
        return images

    @property
    def formats(self):
        """Widths and binary points, in words."""
        return formats(self)

    @property
    def memory_map(self):
        """Each tape's word size, length and sections, in bytes."""
        return memory_map(self)

    def generate(self, prompt, count, heat, seed):
        """What the machine's tokens and logits should be: see :func:`integer.generate`."""
        return integer.generate(self.model, prompt, count, heat, seed)

    def tape_words(self):
        """The words of the weight tape: uint8[words, bytes], lowest bits first."""
        t, groups = self.tapes, self.shape.groups
        if self.shape.trits:
            return pack_trits(t.weights.reshape(len(t.weights), -1))
        if groups is None and self.shape.weight_width == 8:
            return t.weights.reshape(len(t.weights), -1).view(np.uint8)
        part_width = groups.part_width if groups else 0
        return pack_words(t.weights, t.parts, t.ends, self.shape.weight_width, part_width)

    def machine(self):
        """The machine, as a component."""
        if self.config.memory == "axi":
            weights = AxiMemory(self.config.axi_width, self.config.axi_ports)
        elif self.config.memory == "sdram":
            image = self.images()[0]
            frequency = self.info.frequency or CLOCK
            flash = FLASH_OFFSET if self.config.boot == "flash" else None
            weights = SdramMemory(len(image) // 2, zlib.crc32(image), frequency, flash)
        else:
            weights = _words(self.tape_words())
        scales = _words(self.tapes.scales.astype("<u2").view(np.uint8))
        gains = [gain.tolist() for gain in self.tapes.gains.values()]
        biases = [_packed(word, BIAS_WIDTH) for word in self.tapes.biases]
        return Machine(self.shape, self.program, weights, scales, gains, self.info, biases)

    def images(self):
        """What the SDRAM, or the memory of each AXI port, holds: list of uint8[bytes]."""
        words, width = self.tape_words(), self.shape.word_width
        if self.config.memory == "sdram":
            return port_images(words, width, 16)
        return port_images(words, width, self.config.axi_width, self.config.axi_ports)

    @property
    def cache_bytes(self):
        """What a KV cache in external memory takes there, from address 0 of its port on."""
        return self.shape.places.size(self.shape.cache_width)

    def on_board(self, frequency):
        """The plan of the machine on a board, whose clock has ``frequency`` Hz."""
        return replace(self, info=replace(self.info, frequency=frequency))

    def macs(self, position, logits=True):
        """Multiply-accumulates of the token at ``position``: linear layers and attention."""
        return self.model.description.macs(position + 1, logits)

    def ideal_cycles(self, position, logits=True):
        """``macs / multipliers``: the fewest cycles the token at ``position`` could take."""
        return self.macs(position, logits) / self.shape.multipliers


def scheme_of(config) -> Any:
    """The widths of the integer model of ``config``'s machine.

    Raises
    ------
    ValueError
        If they are out of range.
    """
    return BACK_ENDS[config.machine][0](config)


def make_plan(model, config, calibration=None):
    """Quantise ``model`` and plan the machine of ``config`` for it: a Plan, or another back end's.

    Raises
    ------
    ConfigError
        If the model cannot have such a machine.
    """
    config = with_length(config, model.config)
    return BACK_ENDS[config.machine][1](model, config, calibration)


def with_length(config, c):
    """The configuration with its ``max_seq_len``, by default that of the ModelConfig ``c``.

    Raises
    ------
    ConfigError
        If the model has fewer positions.
    """
    max_seq_len = config.max_seq_len or c.seq_len
    if max_seq_len > c.seq_len:
        raise ConfigError(f"max_seq_len must be at most the model's {c.seq_len}, not {max_seq_len}")
    return replace(config, max_seq_len=max_seq_len)


def _scheme(config):
    """The full machine's widths."""
    return Scheme(
        lanes=config.vector_lanes,
        weight_width=config.weight_width,
        group=config.group_size,
        head_width=config.head_width,
        ternary=config.ternary,
        key_width=config.key_width,
        value_width=config.value_width,
        value_steps=config.value_steps,
        key_mean=config.key_mean,
    )


def _make_plan(model, config, calibration):
    """The full machine's plan."""
    c = model.config
    config = settled(config, c, model.description)
    try:
        quantized = _scheme(config).quantize(model, calibration)
        views = machine_views(quantized, config)
        tapes, routes = write_program(quantized, config.rows, views)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{model.name or 'the model'} has no such machine: {error}") from error
    shape = machine_shape(
        quantized, config, views, routes, tapes.program, quantized.acc_width(config.max_seq_len)
    )
    _check_memory(len(tapes.weights), shape.word_width, config)
    check_units(shape, tapes, config)
    info = Info(
        vocab_size=c.vocab_size,
        max_seq_len=config.max_seq_len,
        weight_parallelism=config.weight_parallelism,
        token_parallelism=config.token_parallelism,
        n_counters=len(COUNTERS),
        model_hash=digest(shape, tapes),
        name=(model.name or "model")[:16],
    )
    return Plan(config, quantized, shape, tapes, info)


def settled(config, c, description):
    """The configuration, with its ``kv_pages``, of the full machine for a ModelConfig ``c``.

    Raises
    ------
    ConfigError
        If there is no such machine.
    """
    _check_fit(c, config)
    _check_operations(description, config)
    return _with_pages(config, config.max_seq_len)


def machine_views(quantized, config):
    """What each layer sees, and the slots of its cache.

    Raises
    ------
    ValueError
        If pages are asked for where no layer has any.
    """
    tokens, lanes = config.token_parallelism, config.vector_lanes
    pages = config.kv_page_size, config.kv_pages
    views = tuple(
        layer_view(quantized.window(n), config.max_seq_len, config.rows, lanes, tokens, *pages)
        for n in range(quantized.config.n_layers)
    )
    if config.kv_page_size and not any(view.page for view in views):
        raise ValueError("kv_page_size must be 0 where all layers have windows, in rings")
    return views


def machine_shape(quantized, config, views, routes, program, acc_width):
    """The sizes of the machine of ``config``, whose ``max_seq_len`` is set."""
    c, scheme = quantized.config, quantized.scheme
    lanes = scheme.lanes
    return MachineShape(
        rows=config.rows,
        lanes=lanes,
        tokens=config.token_parallelism,
        weight_width=config.weight_width,
        acc_width=max(24, acc_width),
        residual_width=scheme.residual_width,
        dim_words=scheme.padded(c.dim) // lanes,
        hidden_words=scheme.padded(_hidden_dim(quantized.description)) // lanes,
        head_words=quantized.head_dim // lanes,
        n_layers=c.n_layers,
        n_heads=c.n_heads,
        n_kv_heads=c.n_kv_heads,
        vocab_size=c.vocab_size,
        max_seq_len=config.max_seq_len,
        epsilon=quantized.epsilon,
        score_fraction=quantized.score_fraction,
        score_width=quantized.score_width,
        gate_fraction=quantized.gate_fraction,
        logit_fraction=quantized.logit_fraction,
        groups=group_format(quantized),
        cache_width=config.kv_axi_width if config.kv_memory == "axi" else 0,
        register_port=config.control == "axi_lite",
        views=views,
        routes=routes,
        mixed_words=program.recurs * scheme.padded(c.dim) // lanes,
        norms=program.norms,
        ternary=scheme.ternary,
        trits=config.weight_format == "trits",
    )


#: Of each machine what makes its scheme, and its plan.
BACK_ENDS = {
    "full": (_scheme, _make_plan),
    "compact": (lambda config: CompactScheme(config.window), make_compact_plan),
}


def _check_operations(description, config):
    """Refuse what a model with such operations cannot have."""
    for kind, what in ((Experts, "experts"), (Recur, "a recurrent state")):
        if description.find(kind) and config.token_parallelism > 1:
            raise ConfigError(
                f"token_parallelism must be 1 for a model with {what}, "
                f"not {config.token_parallelism}: a prompt goes token by token"
            )
    if description.find(Attention) and config.ternary:
        raise ConfigError(
            "weight_format must be integer for a model with attention, not "
            f"{config.weight_format}: its keys and values need multipliers"
        )
    if not description.find(Attention):
        for name, usual in (
            ("kv_memory", "on_chip"),
            ("kv_page_size", 0),
            ("value_steps", "channel"),
        ):
            if getattr(config, name) != usual:
                raise ConfigError(
                    f"{name} must be {usual} for a model without attention, "
                    f"not {getattr(config, name)}"
                )


def _hidden_dim(description):
    """Values of the largest vector behind a gate."""
    gates = [description.sizes[op.out] for op in description.find(Gate)]
    return max([op.hidden_dim for op in description.find(Experts)] + gates)


def digest(shape, tapes):
    """Eight bytes that tell machines apart: of all that one computes with.

    That is the tapes, the gains, the program, and in the shape the sizes, formats, epsilon and the
    increments of the rotation.
    """
    found = hashlib.sha256(repr((shape, tapes.program)).encode())
    for array in (
        *(tapes.weights, tapes.parts, tapes.ends, tapes.scales, tapes.biases),
        *tapes.gains.values(),
    ):
        if array is not None:
            found.update(f"{array.dtype.str} {array.shape} ".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()[:8]


def _check_fit(c, config):
    limit = max(c.dim, c.hidden_dim, c.vocab_size)
    if config.rows > limit:
        raise ConfigError(
            f"weight_parallelism {config.weight_parallelism} with {config.vector_lanes} lanes has "
            f"{config.rows} rows, more than the model can fill (its largest layer has {limit})"
        )
    for name, value, most in (
        ("n_heads", c.n_heads, 255),
        ("n_layers", c.n_layers, 127),
        ("vocab_size", c.vocab_size, (1 << 20) - 1),
    ):
        if value > most:
            raise ConfigError(f"{name} must be at most {most}, not {value}")


def _with_pages(config, max_seq_len):
    """The configuration with as many pages of the KV cache as ``max_seq_len`` needs, if any."""
    size = config.kv_page_size
    if not size:
        return config
    needed = -(-max_seq_len // size)
    if config.kv_pages and config.kv_pages < needed:
        raise ConfigError(
            f"kv_pages must be at least {needed} for max_seq_len {max_seq_len} with a kv_page_size "
            f"of {size}, not {config.kv_pages}"
        )
    return replace(config, kv_pages=config.kv_pages or needed)


def _check_memory(words, width, config):
    """Refuse a tape that the SDRAM does not hold."""
    needed = -(-words * packed_width(width, 16) // 16)
    if config.memory == "sdram" and needed > CAPACITY:
        raise ConfigError(
            f"memory sdram holds {2 * CAPACITY:,} bytes, the tape has {2 * needed:,}: "
            "choose a smaller model or weight_width"
        )
    room = FLASH_SIZE - FLASH_OFFSET
    if config.boot == "flash" and 2 * needed > room:
        raise ConfigError(
            f"the flash has room for {room:,} bytes, the tape has {2 * needed:,}: load it from the "
            "host (boot=host)"
        )


def _packed(values, width):
    """Signed values of ``width`` bits as one int, lowest first."""
    mask = (1 << width) - 1
    return sum((int(value) & mask) << n * width for n, value in enumerate(values))


def _words(octets):
    """Rows of ``octets`` uint8[words, bytes] as ints."""
    return [int.from_bytes(row.tobytes(), "little") for row in octets]
