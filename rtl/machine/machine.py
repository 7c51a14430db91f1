"""The whole machine, wired: tape, fabric, vector units, caches, sequencer and host link."""

from types import SimpleNamespace

from amaranth import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for
from celosia.reference.quantization.trits import packed_size
from celosia.reference.units.bias import BIAS_WIDTH
from celosia.rtl.attention.softmax_sum import SoftmaxSum
from celosia.rtl.attention.weighted_softmax import STEP_WIDTH, total_width
from celosia.rtl.host.axi_registers import register_pins
from celosia.rtl.host.host_answers import finished, result
from celosia.rtl.host.host_link import HostLink
from celosia.rtl.kv_cache.axi_cache import AxiCache, cache_pins
from celosia.rtl.kv_cache.key_steps import KeySteps
from celosia.rtl.kv_cache.on_chip_cache import KeyCache, ValueCache
from celosia.rtl.kv_cache.page_runs import PageRuns
from celosia.rtl.kv_cache.slots import Slots
from celosia.rtl.kv_cache.value_words import ValueWords
from celosia.rtl.mac.bias import Bias
from celosia.rtl.mac.format import CACHED_WIDTH, MacFormat
from celosia.rtl.mac.group_scales import GroupScales, grouped_word
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.rtl.mac.scale import Scale
from celosia.rtl.machine.collect import Collect
from celosia.rtl.machine.control import watch, wire_control
from celosia.rtl.machine.controller import Controller
from celosia.rtl.machine.operand_fetch import OperandFetch
from celosia.rtl.machine.operands import wire_operands
from celosia.rtl.machine.results import wire_results
from celosia.rtl.machine.routes import UNITS, route_units, routes_of, told, watched
from celosia.rtl.machine.row_scales import RowScales
from celosia.rtl.machine.saturation_wiring import gate_width
from celosia.rtl.machine.saturations import Saturations
from celosia.rtl.machine.score_memory import ScoreMemory
from celosia.rtl.machine.sequencer import Sequencer
from celosia.rtl.machine.shape import AxiMemory, SdramMemory
from celosia.rtl.machine.step import WORD_MEMBERS, fetch_layout, recall_layout, scales_layout
from celosia.rtl.machine.vector_memory import ActivationMemory, QueryMemory
from celosia.rtl.memory.axi_tape import AxiTape, axi_pins
from celosia.rtl.memory.sdram import sdram_pins
from celosia.rtl.memory.sdram_bursts import CAPACITY
from celosia.rtl.memory.sdram_tape import SdramTape
from celosia.rtl.memory.spi_flash import spi_flash_pins
from celosia.rtl.memory.tape import Tape
from celosia.rtl.memory.ternary_words import TernaryWords
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

#: Units of machines with keys and values alone.
ATTENTION = (
    *("sums", "slots", "value_words", "key_cache", "value_cache", "queries", "scores"),
    *("saturated_heads", "saturated_scores"),
)


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
        Of every norm of the residual stream.
    biases : list of int
        The tape of biases, likewise: int24[lanes].
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
    activity : Out(unsigned)
        A tap: the :class:`Cause` of this cycle (4 bits), the link's run state (1), and the valid
        bits of the units that :func:`celosia.rtl.machine.routes.watched` names; whole bytes.

    Raises
    ------
    ValueError
        If a step of the program takes a route that the shape does not have.
    """

    def __init__(self, shape, program, weights, scales, gains, info, biases=()):
        self.shape = shape
        self.program = program
        self.weights = weights
        self.scales = scales
        self.gains = gains
        self.biases = list(biases)
        self.info = info
        logits = framed(shape.lanes, 24, shape.tokens)
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "tx": Out(stream.Signature(8)),
                "logits": Out(stream.Signature(logits, always_ready=True)),
                "passes": Out(stream.Signature(finished, always_ready=True)),
                "activity": Out(-(-(5 + len(watched(shape, program))) // 8) * 8),
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
        units = SimpleNamespace(**self.units())
        for name, unit in vars(units).items():
            m.submodules[name] = unit
        wire_control(m, self, units)
        wire_operands(m, self, units)
        wire_results(m, self, units)
        watch(m, self, units)
        return m

    def units(self):
        """All components, by name.

        Raises
        ------
        ValueError
            If one of them cannot be of this size.
        """
        s = self.shape
        rows, lanes, tokens = s.rows, s.lanes, s.tokens
        slots = Slots(s.layer_views, tokens)
        external = s.cache_width > 0
        attends = self.program.attends
        position_words = s.places.most_reads
        wide = s.wide_width if self.program.wide else 0
        table_rows, code_width = (s.cached_rows, 8) if wide else (rows, self._code_width)
        row = {"codes": data.ArrayLayout(signed(code_width), lanes)}
        embedded = row["codes"]
        if s.groups:
            embedding_words = EmbeddingWords(lanes, s.groups)
            embedded = embedding_words.i.p.shape()
            row["parameters"] = embedded.members["parameters"]
        quantized = framed(lanes, 23, tokens)
        routes = routes_of(s, self.program)
        chains = route_units(self)
        more = told(chains.values(), self.program)
        passed, totals = more, 0
        if s.value_steps:
            steps = data.ArrayLayout(unsigned(STEP_WIDTH), lanes)
            passed, totals = more | {"value_steps": steps}, total_width(lanes)
        sequencer = Sequencer(
            self.program, rows, lanes, tokens, external, more, slots.views, s.places
        )
        n_routes = len(sequencer.routes)
        units = {
            "link": HostLink(
                self.info,
                LINK_TIMEOUT,
                self._loaded_bytes,
                rings=any(v.wraps for v in s.layer_views) or self.program.recurs,
                states=chains["recurrent"].values if self.program.recurs else 0,
            ),
            "controller": Controller(
                *(s.max_seq_len, tokens, 1 + s.register_port, bits_for(lanes * s.paths))
            ),
            "sequencer": sequencer,
            "tape": self._tape(),
            "scale_tape": Tape(data.ArrayLayout(unsigned(16), lanes), self.scales),
            "fetch": OperandFetch(
                *(rows, lanes, tokens, s.weight_width, s.groups, external, s.blocks),
                self._exponent_width,
                bool(s.paged_view) and not external,
                attends,
                totals,
                s.places.value_place if external and s.places.external_width == 4 else None,
                s.parts,
                *(s.cached_rows, wide, self._code_width, s.trits, self._size_width),
            ),
            "fabric": MacFabric(
                *(rows, lanes, tokens, MacFormat(8, self._code_width, s.ternary, s.packing)),
                acc_width=s.acc_width,
                groups=s.groups,
                parts=s.parts,
                # The blocks of some are those of the scores' paths.
                portable=s.lut_multipliers + lanes * (s.paths - 1),
                cached_rows=s.cached_rows,
            ),
            "row_scales": RowScales(lanes, s.value_steps, s.paths),
            "sums": SoftmaxSum(lanes, tokens, position_words, totals, s.parts),
            "collect": Collect(
                *(rows, lanes, tokens, s.acc_width),
                *(EMBEDDED_WIDTH if s.groups else code_width, n_routes, more),
                *(bool(self.program.experts), self.program.norms > 1),
                s.value_steps,
                *(s.parts, s.paths, s.dot_width, s.cached_rows, bool(wide)),
                self._index_width,
            ),
            "scale": Scale(lanes, s.acc_width, tokens, route=range(max(2, n_routes)), **passed),
            "scale_words": Buffer(data.ArrayLayout(unsigned(16), lanes)),
            "chosen_scales": Buffer(data.ArrayLayout(unsigned(16), lanes * s.paths)),
            "row_choice": RowChoice(data.StructLayout(row), table_rows),
            "embedded": Queue(embedded, 8, spare=4),  # two more are on their way into it
            **chains,
            "merge": Merge(quantized, [route.sink for route in routes].count("activations")),
            "quantize": BlockQuantize(lanes, 23, tokens, s.activation_width),
            "slots": slots,
            **self._values(),
            "sampler": Sampler(lanes, s.vocab_size, s.logit_fraction, s.sampler_lanes or lanes),
            "sampled": Buffer(unsigned(20)),
            "load": Buffer(unsigned(20)),
            "result": Buffer(result),
            **self._saturations(chains),
            **self._caches(slots),
            "activations": ActivationMemory(
                lanes,
                tokens,
                (0, s.attention_start, s.hidden_start),
                s.blocks,
                s.activation_width,
                s.parts > 1,
            ),
        }
        units["queries"] = QueryMemory(lanes, tokens, s.n_heads, s.head_words)
        units["scores"] = ScoreMemory(
            *(lanes, tokens, position_words, self._exponent_width, totals, s.parts, s.paths)
        )
        units |= self._paths()
        units |= self._bias_units(passed, n_routes)
        if s.groups:
            units["group_scales"] = GroupScales(rows, lanes, s.groups)
            units["embedding_words"] = embedding_words
        if s.trits:
            units["ternary_words"] = TernaryWords(rows, lanes, bool(wide))
        return {n: unit for n, unit in units.items() if attends or n not in ATTENTION}

    def _paths(self):
        """What scores pass that leave the fabric beside others."""
        s, units = self.shape, {}
        for path in range(1, s.paths):
            softmax = UNITS["softmax"](self, s, {})
            asked = {n: WORD_MEMBERS[n] for n in softmax.i.p.shape().members if n in WORD_MEMBERS}
            units |= {
                f"softmax_{path}": softmax,
                f"scale_{path}": Scale(s.lanes, s.dot_width, s.tokens, portable=True, **asked),
                f"saturated_scores_{path}": Saturations(s.lanes, 24, s.score_width),
                f"saturated_scaled_{path}": Saturations(s.lanes, 2, 2),
            }
        return units

    @property
    def _exponent_width(self):
        """Bits of the exponents of blocks of exponentials."""
        return self.shape.score_width - self.shape.score_fraction + 2

    @property
    def _code_width(self):
        """Bits of the fabric's weights: those of keys and values, too, where these are weights."""
        s = self.shape
        if s.cached_rows or not (self.program.attends or s.groups):
            return s.weight_width
        if s.packing == "none":
            return CACHED_WIDTH
        return max(s.weight_width, s.places.key_width, s.places.value_width)

    @property
    def _index_width(self):
        """Bits of the numbers of words: of the longest operation's, and of ``chunks``."""
        words = [step.get("base", 0) + step.get("chunks", 0) for step in self.program.steps]
        words += [load.words for load in self.program.loads]
        if self.program.attends:
            words.append(self.shape.places.most_reads * self.shape.parts)  # scores
        return max(2, bits_for(max(words)))

    @property
    def _size_width(self):
        """Bits of a step's numbers of words and tiles, of those that positions make, too."""
        s = self.shape
        steps = self.program.steps
        sizes = [step.get(name, 0) for step in steps for name in ("words", "tiles")]
        sizes += [load.words << load.planes for load in self.program.loads]
        if self.program.attends:
            rows = s.cached_rows or s.rows
            sizes += [-(-s.max_seq_len // size) for size in (s.lanes * s.parts, rows)]
        return max(2, bits_for(max(sizes)))

    def _saturations(self, chains):
        lanes, s = self.shape.lanes, self.shape
        values = (24, 8) if self.program.attends else (26, 20)  # of a cache, or of what states take
        values = (16, 16) if s.value_steps else values
        return {
            "saturated_residual": Saturations(lanes, s.residual_width, s.residual_width),
            "saturated_activations": Saturations(lanes, 23, 23),
            "saturated_values": Saturations(lanes, *values),
            "saturated_heads": Saturations(lanes, 16, 16),
            "saturated_scores": Saturations(lanes, 24, s.score_width),
            "saturated_gates": Saturations(lanes, 26, gate_width(chains)),
            "saturated_scaled": Saturations(lanes, 2, 2),
        }

    def _values(self):
        s = self.shape
        if s.value_steps:
            return {"value_steps": KeySteps(s.places, STEP_WIDTH)}
        return {"value_words": ValueWords(s.lanes, s.tokens, s.head_words)}

    def _caches(self, slots):
        places, width = self.shape.places, self.shape.cache_width
        if width:
            units = {"cache": AxiCache(places, self.shape.tokens, width)}
        else:
            units = {"key_cache": KeyCache(places), "value_cache": ValueCache(places)}
        if paged := self.shape.paged_view:
            entry = slots.signature.members["entry"].shape
            layout = recall_layout() if width else fetch_layout()
            units["cache_runs"] = PageRuns(layout, places, paged, entry)
            units["step_runs"] = PageRuns(scales_layout(), places, paged, entry)
        return units

    def _bias_units(self, more, n_routes):
        if not any(self.program.bias_words):
            return {}
        lanes = self.shape.lanes
        word = data.ArrayLayout(signed(BIAS_WIDTH), lanes)
        passed = {n: shape for n, shape in more.items() if n not in ("bias", "last_token")}
        return {
            "bias": Bias(lanes, self.shape.tokens, route=range(max(2, n_routes)), **passed),
            "bias_tape": Tape(word, self.biases),
            "bias_words": Buffer(word),
        }

    def _tape(self):
        s = self.shape
        layout = data.ArrayLayout(data.ArrayLayout(signed(s.weight_width), s.lanes), s.rows)
        if s.trits:
            layout = data.ArrayLayout(unsigned(8), packed_size(s.rows * s.lanes))
        if s.groups:
            layout = grouped_word(s.rows, s.lanes, s.groups)
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
