"""The plan: a quantised model and a configuration become a machine's sizes, tapes and program."""

import hashlib
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from celosia.generators.compact.plan import make_compact_plan
from celosia.generators.config import Config, ConfigError
from celosia.generators.files.memory_map import formats, memory_map
from celosia.generators.machine_sizes import (
    attention_parts,
    machine_shape,
    machine_views,
    settled,
)
from celosia.generators.program.group_parts import pack_words
from celosia.generators.program.program import Tapes, write_program
from celosia.generators.program.tape_image import FLASH_OFFSET, port_images
from celosia.generators.unit_check import check_units
from celosia.protocol.messages import Info
from celosia.reference import integer
from celosia.reference.compact.quantize import CompactScheme
from celosia.reference.quantization.quantize import QuantizedModel, Scheme
from celosia.reference.quantization.trits import pack_trits
from celosia.reference.units.bias import BIAS_WIDTH
from celosia.rtl.machine.machine import Machine
from celosia.rtl.machine.routes import watched
from celosia.rtl.machine.run_counters import COUNTERS
from celosia.rtl.machine.shape import AxiMemory, MachineShape, SdramMemory
from celosia.rtl.memory.gearbox import packed_width
from celosia.rtl.memory.sdram_bursts import CAPACITY

__all__ = ["CLOCK", "FLASH_OFFSET", "Plan", "digest", "make_plan", "scheme_of", "with_length"]

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
            return self._trits()
        if groups is None and self.shape.weight_width == 8:
            return t.weights.reshape(len(t.weights), -1).view(np.uint8)
        part_width = groups.part_width if groups else 0
        return pack_words(t.weights, t.parts, t.ends, self.shape.weight_width, part_width)

    def _trits(self):
        """Five weights in a byte, or the bytes of wide operands."""
        t = self.tapes
        codes = t.weights.reshape(len(t.weights), -1)
        narrow = codes.copy()
        for beats in t.wide:
            narrow[beats] = 0
        words = pack_trits(narrow)
        for beats in t.wide:
            found = pack_words(t.weights[beats], None, None, self.shape.weight_width, 0)
            words[beats] = found[:, : words.shape[1]]
        return words

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
        return self.shape.ideal_cycles(self.model.description, position, logits, self.program.wide)


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
        offset_width=config.offset_width,
        head_width=config.head_width,
        ternary=config.ternary,
        key_width=config.key_width,
        value_width=config.value_width,
        value_steps=config.value_steps,
        key_mean=config.key_mean,
        activation_width=config.activation_width,
        rotate_down=config.rotate_down,
        rotate_keys=config.rotate_keys,
    )


def _make_plan(model, config, calibration):
    """The full machine's plan."""
    c = model.config
    config = settled(config, c, model.description)
    try:
        quantized = _scheme(config).quantize(model, calibration)
        views = machine_views(quantized, config)
        parts = attention_parts(config, quantized)
        tapes, routes = write_program(quantized, config.rows, views, **parts)
    except ConfigError:
        raise
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


#: Of each machine what makes its scheme, and its plan.
BACK_ENDS = {
    "full": (_scheme, _make_plan),
    "compact": (
        lambda config: CompactScheme(config.window, config.weight_width, config.ternary),
        make_compact_plan,
    ),
}


def digest(shape, tapes):
    """Eight bytes that tell machines apart: of all that one computes with.

    That is the tapes, the gains, the program, and in the shape the sizes, formats, epsilon and the
    increments of the rotation.
    """
    narrow = (shape.activation_width,) if shape.activation_width < 8 else ()
    narrow += (shape.parts, shape.paths) if shape.parts > 1 else ()
    narrow += (shape.cached_rows,) if shape.cached_rows else ()
    found = hashlib.sha256(repr((shape, tapes.program, *narrow)).encode())
    for array in (
        *(tapes.weights, tapes.parts, tapes.ends, tapes.scales, tapes.biases),
        *tapes.gains.values(),
    ):
        if array is not None:
            found.update(f"{array.dtype.str} {array.shape} ".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()[:8]


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
