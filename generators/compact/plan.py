"""The compact machine's plan: a quantised model and a configuration become sizes and contents."""

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
from celosia.generators.compact.program import write_compact
from celosia.generators.config import Config, ConfigError
from celosia.generators.program.tape_image import FLASH_OFFSET
from celosia.protocol.messages import Info
from celosia.reference.compact import arithmetic as compact
from celosia.reference.compact.quantize import quantize_compact
from celosia.rtl.compact.machine import CompactMachine
from celosia.rtl.compact.shape import CompactImage, CompactShape

__all__ = ["CompactPlan", "make_compact_plan"]


@dataclass(frozen=True)
class CompactPlan:
    """All that a compact machine is made of.

    Parameters
    ----------
    config : Config
    model : celosia.reference.compact.arithmetic.CompactModel
    shape : CompactShape
    image : CompactImage
    info : Info
    flash : int, optional
        Where in a serial flash the weights lie at start; without it they are in the machine's
        memory, as in simulation.
    """

    config: Config
    model: compact.CompactModel
    shape: CompactShape
    image: CompactImage
    info: Info
    flash: int | None = None

    watched = ()
    counters = ("cycles",)

    @property
    def program(self):
        """The program."""
        return self.image.program

    @property
    def contents(self):
        """What the machine's memories hold, as arrays."""
        image = self.image
        parts = (image.scales, image.gains, image.wide, image.half)
        return [*self.images(), *(np.array(part, np.int64) for part in parts)]

    def images(self):
        """The tape of weights: list of one uint8[bytes]."""
        octets = self.shape.word_bits // 8
        words = b"".join(word.to_bytes(octets, "little") for word in self.image.weights)
        return [np.frombuffer(words, np.uint8)]

    def generate(self, prompt, count, heat, seed):
        """What the machine's tokens and logits should be."""
        if heat and not self.config.samples:
            raise ConfigError("temperature must be 0: this machine takes the likeliest token")
        return compact.generate(self.model, prompt, count, heat, seed)

    def on_board(self, frequency):
        """The plan of the machine on a board, whose clock has ``frequency`` Hz."""
        flash = FLASH_OFFSET if self.shape.spram else None
        return replace(self, info=replace(self.info, frequency=frequency), flash=flash)

    def machine(self):
        """The machine, as a component."""
        return CompactMachine(self.shape, self.image, self.info, self.flash)

    @property
    def hex_images(self):
        """The contents of on-chip memories: ``{name: (int[words, ...], bits of a value)}``."""
        words = self.images()[0].reshape(-1, self.shape.word_bits // 8)
        scales, gains = (np.array(part)[:, None] for part in (self.image.scales, self.image.gains))
        return {"weights": (words, 8), "scales": (scales, 4), "gains": (gains, 8)}

    @property
    def memory_map(self):
        """Each tape's word size and length, in bytes."""
        sizes = {"weights": self.shape.word_bits // 8, "scales": 0.5, "gains": 1}
        return {
            name: {"word_bytes": size, "bytes": math.ceil(size * len(self.hex_images[name][0]))}
            for name, size in sizes.items()
        }

    @property
    def formats(self):
        """Widths, as :mod:`celosia.reference.compact.arithmetic` has them."""
        return {
            "scheme": f"w{2 if self.shape.ternary else self.shape.weight_width}a8kv8",
            "weights": f"{self._weights()}, one of 16 scales per row",
            "activations": "int8, a scale per vector",
            "keys": "int8, a scale per channel",
            "values": "int8, a scale per channel",
            "accumulators": f"int{self.shape.acc_width}",
            "logits": f"int24 with {self.model.logit_fraction} fractional bits",
        }

    def _weights(self):
        wide = f"int{self.shape.weight_width}"
        return f"ternary, head {wide}" if self.shape.ternary else wide

    def macs(self, position, logits=True):
        """Multiply-accumulates of the token at ``position``."""
        return self.model.description.macs(min(position + 1, self.shape.window), logits)

    def ideal_cycles(self, position, logits=True):
        """Multiply-accumulates over the fabric's multipliers."""
        macs = self.macs(position, False)
        return self.shape.ideal_cycles(macs, self.macs(position, logits) - macs)


def make_compact_plan(model, config, calibration=None):
    """Quantise ``model`` and plan the compact machine of ``config``, whose ``max_seq_len`` is set.

    Raises
    ------
    ConfigError
        If the model cannot have such a machine.
    """
    try:
        width, columns = config.weight_width, config.vector_lanes
        quantized = quantize_compact(
            model, config.window, calibration, weight_width=width, ternary=config.ternary
        )
        shape, image = write_compact(
            quantized,
            config.max_seq_len,
            config.rows,
            columns,
            spram=config.boot == "flash",
            sampling=config.samples,
        )
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{model.name or 'the model'} has no such machine: {error}") from error
    digest = hashlib.sha256(repr((shape, image)).encode())
    info = Info(
        vocab_size=model.config.vocab_size,
        max_seq_len=config.max_seq_len,
        weight_parallelism=config.weight_parallelism,
        n_counters=len(CompactPlan.counters),
        model_hash=digest.digest()[:8],
        name=(model.name or "model")[:16],
    )
    return CompactPlan(config, quantized, shape, image, info)
