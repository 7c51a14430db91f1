"""The kinds of machines, and what each fixes of its configuration."""

from dataclasses import dataclass

__all__ = ["MACHINES", "MachineKind"]


@dataclass(frozen=True)
class MachineKind:
    """What a machine fixes of its configuration, and where its runs begin.

    Parameters
    ----------
    fixed : dict
        The value of a field, or its values: a range, or a tuple.
    plain : bool
        Whether runs begin at position 0 alone.
    words : bool
        Whether a tile's rows leave the fabric in whole words.
    """

    fixed: dict
    plain: bool = False
    words: bool = True

    def least_parallelism(self, lanes):
        """What ``weight_parallelism`` is a multiple of."""
        return lanes * (lanes if self.words else 2)

    @property
    def open(self):
        """Of :attr:`fixed` the fields that may have several values, and these."""
        return {n: values for n, values in self.fixed.items() if isinstance(values, range | tuple)}

    @property
    def closed(self):
        """The fields that have one value, and this."""
        return {n: value for n, value in self.fixed.items() if n not in self.open}


MACHINES = {
    "full": MachineKind({"window": 0, "sampling": "temperature"}),
    "compact": MachineKind(
        {
            "window": range(4, 2049, 4),
            "weight_parallelism": (8, 16, 32, 64),
            "token_parallelism": 1,
            "vector_lanes": (4, 8),
            "attention_parallelism": 0,
            "packing": "none",
            "lut_multipliers": 0,
            "sampler_lanes": 0,
            "gate_lanes": 0,
            "softmax_lanes": 0,
            "weight_width": (4, 8),
            "weight_format": ("integer", "trits"),
            "activation_width": 8,
            "rotate_down": 0,
            "rotate_keys": 0,
            "group_size": 0,
            "offset_width": 12,
            "head_width": 0,
            "memory": "on_chip",
            "boot": ("image", "flash"),
            "kv_memory": "on_chip",
            "kv_page_size": 0,
            "kv_pages": 0,
            "key_width": 8,
            "value_width": 8,
            "value_steps": "channel",
            "key_mean": "kept",
            "control": "stream",
            "sampling": ("temperature", "greedy"),
        },
        plain=True,
        words=False,
    ),
}
