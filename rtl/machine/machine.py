"""The whole machine, wired: tape, fabric, vector units, caches, sequencer and host link."""

from types import SimpleNamespace

from amaranth import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.activation.gate import Gate
from celosia.rtl.attention.head_quantize import HeadQuantize
from celosia.rtl.attention.rope import Rope
from celosia.rtl.attention.softmax_block import SoftmaxBlock
from celosia.rtl.attention.softmax_sum import SoftmaxSum
from celosia.rtl.host.axi_registers import register_pins
from celosia.rtl.host.host_answers import finished, result
from celosia.rtl.host.host_link import HostLink
from celosia.rtl.kv_cache.axi_cache import AxiCache, cache_pins
from celosia.rtl.kv_cache.on_chip_cache import KeyCache, ValueCache, ValueWords
from celosia.rtl.mac.group_scales import GroupScales, grouped_word
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.rtl.mac.scale import Scale
from celosia.rtl.machine.collect import Collect
from celosia.rtl.machine.control import watch, wire_control
from celosia.rtl.machine.controller import Controller
from celosia.rtl.machine.operand_fetch import OperandFetch
from celosia.rtl.machine.operands import wire_operands
from celosia.rtl.machine.results import wire_results
from celosia.rtl.machine.row_scales import RowScales
from celosia.rtl.machine.saturations import Saturations
from celosia.rtl.machine.sequencer import Sequencer
from celosia.rtl.machine.shape import AxiMemory, SdramMemory
from celosia.rtl.machine.step import Kind
from celosia.rtl.machine.vector_memory import ActivationMemory, QueryMemory, ScoreMemory
from celosia.rtl.memory.axi_tape import AxiTape, axi_pins
from celosia.rtl.memory.sdram import sdram_pins
from celosia.rtl.memory.sdram_bursts import CAPACITY
from celosia.rtl.memory.sdram_tape import SdramTape
from celosia.rtl.memory.spi_flash import spi_flash_pins
from celosia.rtl.memory.tape import Tape
from celosia.rtl.norm.residual import Residual
from celosia.rtl.norm.rms_norm import RmsNorm
from celosia.rtl.quantize.block_quantize import BlockQuantize
from celosia.rtl.stream.buffer import Buffer
from celosia.rtl.stream.merge import Merge
from celosia.rtl.stream.queue import Queue
from celosia.rtl.stream.row_choice import RowChoice
from celosia.rtl.stream.words import framed
from celosia.rtl.token.embedding_words import EMBEDDED_WIDTH, EmbeddingWords
from celosia.rtl.token.sampler import Sampler

__all__ = ["Machine"]

LINK_TIMEOUT = 1 << 20


class Machine(wiring.Component):
    """A decoder model: prompt in, tokens out, over a byte stream.

    Bit-exact with :func:`celosia.reference.integer.generate`.

    Parameters
    ----------
    shape : MachineShape
    program : Program
    weights : list of int, AxiMemory or SdramMemory
        The tape, a word's bits in an int: int[rows, lanes], lowest first.
    scales : list of int
        The row scales' tape, likewise: uint16[lanes].
    gains : list of int16[dim_words * lanes]
        Of every norm.
    info : celosia.protocol.messages.Info

    Members
    -------
    rx, tx : In, Out(stream of unsigned(8))
        The host link.
    logits : Out(stream of framed 24-bit words), always ready
        A tap: logits as the sampler takes them.
    passes : Out(stream), always ready
        A tap: each finished pass and its cycles.
    m_axi0_araddr ...
        The tape's ports, where it lies behind AXI4: see :class:`AxiTape`.
    sdram : Out(sdram_pins)
        The tape's pins, where it lies in an SDRAM: see :class:`SdramTape`.
    flash : Out(spi_flash_pins)
        Of the flash from which that is filled, if it is.
    m_axi_kv_araddr ...
        The KV cache's port, where it lies in external memory: see :class:`AxiCache`.
    s_axi_awaddr ..., interrupt
        The register port, where there is one: see :class:`AxiRegisters`.
    activity : Out(unsigned(16))
        A tap: the :class:`Cause` of this cycle (4 bits), the link's run state (1), and the valid
        bits of collector, residual, rope, softmax, swiglu, quantiser and sampler.
    """

    def __init__(self, shape, program, weights, scales, gains, info):
        self.shape = shape
        self.program = program
        self.weights = weights
        self.scales = scales
        self.gains = gains
        self.info = info
        logits = framed(shape.lanes, 24, shape.tokens)
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "tx": Out(stream.Signature(8)),
                "logits": Out(stream.Signature(logits, always_ready=True)),
                "passes": Out(stream.Signature(finished, always_ready=True)),
                "activity": Out(16),
                **self._pins(),
            }
        )

    def _pins(self):
        """The ports to external memory, and the register port."""
        pins = axi_pins(self.weights) if isinstance(self.weights, AxiMemory) else {}
        if isinstance(self.weights, SdramMemory):
            pins |= {"sdram": Out(sdram_pins())}
            if self.weights.boots:
                pins |= {"flash": Out(spi_flash_pins())}
        if self.shape.cache_width:
            pins |= cache_pins(self.shape.cache_width)
        if self.shape.register_port:
            pins |= register_pins() | {"interrupt": Out(1)}
        return pins

    def elaborate(self, platform):
        m = Module()
        units = self._units(m)
        wire_control(m, self, units)
        wire_operands(m, self, units)
        wire_results(m, self, units)
        watch(m, self, units)
        return m

    def _units(self, m):
        """All components, as submodules of the same names."""
        s = self.shape
        rows, lanes, tokens = s.rows, s.lanes, s.tokens
        cache = (rows, lanes, s.n_layers, s.n_kv_heads, s.head_words, s.max_seq_len)
        external = s.cache_width > 0
        if external:
            caches = {"cache": AxiCache(*cache, tokens, s.cache_width)}
        else:
            caches = {"key_cache": KeyCache(*cache), "value_cache": ValueCache(*cache)}
        blocks = s.hidden_start + s.hidden_words  # of activations
        position_words = -(-s.max_seq_len // lanes)
        weights = data.ArrayLayout(data.ArrayLayout(signed(s.weight_width), lanes), rows)
        if s.groups:
            weights = grouped_word(rows, lanes, s.groups)
        row = {"codes": data.ArrayLayout(signed(8), lanes)}
        embedded = row["codes"]
        if s.groups:
            embedding_words = EmbeddingWords(lanes, s.groups)
            embedded = embedding_words.i.p.shape()
            row["parameters"] = embedded.members["parameters"]
        quantized = framed(lanes, 23, tokens)
        scale = Scale(lanes, s.acc_width, tokens, kind=Kind, norm=unsigned(10))
        units = {
            "link": HostLink(self.info, LINK_TIMEOUT, self._loaded_bytes),
            "controller": Controller(s.max_seq_len, tokens),
            "sequencer": Sequencer(self.program, rows, lanes, tokens, external),
            "tape": self._tape(weights),
            "scale_tape": Tape(data.ArrayLayout(unsigned(16), lanes), self.scales),
            "fetch": OperandFetch(
                rows, lanes, tokens, s.weight_width, s.groups, external, blocks=blocks
            ),
            "fabric": MacFabric(rows, lanes, tokens, acc_width=s.acc_width, groups=s.groups),
            "row_scales": RowScales(lanes),
            "sums": SoftmaxSum(lanes, tokens, position_words),
            "collect": Collect(rows, lanes, tokens, s.acc_width, EMBEDDED_WIDTH if s.groups else 8),
            "scale": scale,
            "scale_words": Buffer(data.ArrayLayout(unsigned(16), lanes)),
            "chosen_scales": Buffer(data.ArrayLayout(unsigned(16), lanes)),
            "row_choice": RowChoice(data.StructLayout(row), rows),
            "embedded": Queue(embedded, 8, spare=4),  # two more are on their way into it
            "residual": Residual(lanes, s.dim_words, s.residual_width, tokens),
            "norm": RmsNorm(lanes, s.dim_words, s.residual_width, s.epsilon, self.gains, tokens),
            "swiglu": Gate(lanes, tokens),
            "merge": Merge(quantized, 3),
            "quantize": BlockQuantize(lanes, 23, tokens),
            "rope": Rope(lanes, s.head_words, s.rope_increments, tokens),
            "turned": Queue(framed(lanes, 16, tokens), 8, spare=Rope.latency),
            "head_quantize": HeadQuantize(lanes, s.head_words, tokens),
            "value_words": ValueWords(lanes, tokens, s.head_words),
            "softmax": SoftmaxBlock(lanes, tokens),
            "sampler": Sampler(lanes, s.vocab_size),
            "sampled": Buffer(unsigned(20)),
            "load": Buffer(unsigned(20)),
            "result": Buffer(result),
            "saturated_residual": Saturations(lanes, s.residual_width, s.residual_width),
            "saturated_activations": Saturations(lanes, 23, 23),
            "saturated_values": Saturations(lanes, 24, 8),
            **caches,
            "activations": ActivationMemory(
                lanes,
                tokens,
                (0, s.attention_start, s.hidden_start),
                blocks,
            ),
            "queries": QueryMemory(lanes, tokens, s.n_heads, s.head_words),
            "scores": ScoreMemory(lanes, tokens, position_words),
        }
        if s.groups:
            units["group_scales"] = GroupScales(rows, lanes, s.groups)
            units["embedding_words"] = embedding_words
        for name, unit in units.items():
            m.submodules[name] = unit
        return SimpleNamespace(**units)

    def _tape(self, layout):
        if isinstance(self.weights, AxiMemory):
            return AxiTape(layout, self.weights.data_width, self.weights.ports)
        if isinstance(self.weights, SdramMemory):
            memory = self.weights
            return SdramTape(layout, memory.size, memory.checksum, memory.frequency)
        return Tape(layout, self.weights)

    @property
    def _loaded_bytes(self):
        """Bytes of memory that the host loads."""
        return 2 * CAPACITY if isinstance(self.weights, SdramMemory) else 0
