"""The sizes of a machine, and where its tape lies: plain numbers that a plan fills in."""

from dataclasses import dataclass, field
from typing import Any

from amaranth.utils import ceil_log2
from celosia.reference.quantization.trits import packed_size
from celosia.reference.view import View
from celosia.rtl.kv_cache.places import CachePlaces

__all__ = ["AxiMemory", "MachineShape", "Route", "SdramMemory", "Unit"]


@dataclass(frozen=True)
class AxiMemory:
    """A tape in external memory: ``ports`` AXI4 read masters of ``data_width`` bits."""

    data_width: int
    ports: int = 1


@dataclass(frozen=True)
class SdramMemory:
    """A tape in an SDRAM: ``size`` words of 16 bits whose CRC-32 is ``checksum``.

    ``frequency`` is the clock's, in Hz; see :class:`celosia.rtl.memory.sdram_tape.SdramTape`. With
    ``flash`` it is filled from there in a serial flash after reset.
    """

    size: int
    checksum: int
    frequency: float
    flash: int | None = None

    @property
    def boots(self):
        """Whether it is filled without the host."""
        return self.flash is not None


@dataclass(frozen=True)
class Unit:
    """A unit of a route: of a ``kind`` of :data:`celosia.rtl.machine.routes.UNITS`.

    ``settings`` are what that kind takes beside the machine's shape, pairs of a name and a value;
    ``name`` tells units of a kind apart, and is the kind where it is empty.
    """

    kind: str
    name: str = ""
    settings: tuple = ()

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", self.kind)


@dataclass(frozen=True)
class Route:
    """A way of result words: through ``units`` in order to a sink of ``routes.SINKS``.

    ``base`` is added to their index at the end: the units count from 0.
    """

    name: str
    units: tuple
    sink: str
    base: int = 0


@dataclass(frozen=True)
class MachineShape:
    """The sizes of a machine. ``*_words`` are counted in blocks of ``lanes``.

    Parameters
    ----------
    rows, lanes, tokens : int
        The fabric: ``rows * lanes`` is the weight parallelism, ``tokens`` the token parallelism.
    weight_width, acc_width, residual_width : int
    dim_words, hidden_words, head_words : int
    n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len : int
    epsilon : int
        The norm's, see :class:`celosia.rtl.norm.rms_norm.RmsNorm`.
    groups : celosia.rtl.mac.group_scales.GroupFormat, optional
    cache_width : int
        Bits of the AXI4 port behind which the KV cache lies; 0 where it is on chip.
    score_fraction, score_width, gate_fraction, logit_fraction : int
        Formats, see :class:`celosia.reference.quantization.quantized_model.QuantizedModel`.
    register_port : bool
        Whether there is an AXI4-Lite register port beside the byte streams.
    routes : tuple of Route
        Those that programs may take; a machine has those that its program takes.
    views : tuple of celosia.reference.view.View
        Of each layer; by default linear caches of ``max_seq_len``.
    mixed_words : int
        Of what comes of states in place of heads; 0 where there are heads.
    norms : int
        The most norms of one residual stream: each has its place in the activation memory.
    ternary : bool
        The fabric has no multipliers for weights.
    trits : bool
        The tape has five weights in a byte.
    wide_width : int
        Bits of the head's weights, where they are wide operands.
    activation_width : int
        Bits of a mantissa in the activation memory.
    parts : int
        Blocks of positions of a head whose values are weighted in one beat; 1 where a head has all
        rows, or the other ones idle.
    paths : int
        Words of scores that are scaled and exponentiated side by side.
    cached_rows : int
        Rows of the fabric that keys and values have for themselves; 0 where they have all.
    lut_multipliers : int
        Multipliers of the fabric that are no blocks of the chip.
    sampler_lanes : int
        Logits of a word that the sampler takes at once; 0 for all.
    gate_lanes : int
        Gates of a word that are multiplied at once; 0 for all.
    packing : str
        Two weights' products of a multiplier, see :class:`celosia.rtl.mac.format.MacFormat`.
    """

    rows: int
    lanes: int
    tokens: int
    weight_width: int
    acc_width: int
    residual_width: int
    dim_words: int
    hidden_words: int
    head_words: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int
    epsilon: int
    score_fraction: int = 8
    score_width: int = 16
    gate_fraction: int = 12
    logit_fraction: int = 12
    groups: Any = None
    cache_width: int = 0
    register_port: bool = False
    routes: tuple = ()
    views: tuple = ()
    mixed_words: int = field(default=0, repr=False)
    norms: int = field(default=1, repr=False)
    ternary: bool = field(default=False, repr=False)
    trits: bool = field(default=False, repr=False)
    wide_width: int = field(default=8, repr=False)
    activation_width: int = field(default=8, repr=False)
    parts: int = field(default=1, repr=False)
    paths: int = field(default=1, repr=False)
    cached_rows: int = field(default=0, repr=False)
    packing: str = field(default="none", repr=False)
    lut_multipliers: int = field(default=0, repr=False)
    sampler_lanes: int = field(default=0, repr=False)
    gate_lanes: int = field(default=0, repr=False)

    @property
    def layer_views(self):
        """The view of each layer."""
        return self.views or (View(self.max_seq_len),) * self.n_layers

    @property
    def places(self):
        """Where the caches hold keys and values."""
        slots = tuple(view.slots for view in self.layer_views)
        widths = self._code_width("keys", "heads"), self._code_width("values")
        rows = self.cached_rows or self.rows
        sizes = rows, self.lanes, slots, self.n_kv_heads, self.head_words
        return CachePlaces(*sizes, *widths, self.parts, self.paths)

    def _code_width(self, *sinks):
        """Bits of the codes that come to one of the ``sinks``: a setting of its quantiser."""
        units = [unit for route in self.routes if route.sink in sinks for unit in route.units]
        settings = [p for unit in units if unit.kind == "head_quantize" for p in unit.settings]
        return next((width for name, width in settings if name in ("width", "key_width")), 8)

    @property
    def value_steps(self):
        """Whether cached values have a step for each head and token, which a unit gives them."""
        return any(route.units for route in self.routes if route.sink == "values")

    @property
    def dot_width(self):
        """Bits of a score's accumulator: of a query times a key."""
        return min(16 + ceil_log2(self.head_words * self.lanes), self.acc_width)

    @property
    def paged_view(self):
        """The view of the layers whose caches have pages, or None."""
        return next((view for view in self.layer_views if view.page), None)

    @property
    def multipliers(self):
        """Multiply-accumulates of the MAC fabric in a cycle, of the tape's weights."""
        return self.rows * self.lanes * self.tokens

    @property
    def cached_multipliers(self):
        """Likewise of keys and values."""
        return (self.cached_rows or self.rows) * self.lanes * self.tokens

    def ideal_cycles(self, description, position, logits=True, wide_head=False):
        """The fewest cycles of a token at ``position``: products over those of a cycle.

        A ``wide_head`` takes the multipliers of keys and values.
        """
        weighed = description.macs(0, logits and not wide_head)
        others = description.macs(position + 1, logits) - weighed
        return weighed / self.multipliers + others / self.cached_multipliers

    @property
    def word_width(self):
        """Bits of a word of the weight tape."""
        if self.trits:
            return 8 * packed_size(self.rows * self.lanes)
        width = self.rows * self.lanes * self.weight_width
        return width + (self.rows * self.groups.part_width + 1 if self.groups else 0)

    @property
    def attention_start(self):
        """Where the activation memory's second region, attention's result, begins."""
        return self.dim_words + (self.norms - 1 << ceil_log2(self.dim_words))

    @property
    def hidden_start(self):
        """Where its third region, the hidden layer, begins."""
        return self.attention_start + (self.mixed_words or self.n_heads * self.head_words)

    @property
    def blocks(self):
        """Words of the activation memory."""
        return self.hidden_start + self.hidden_words
