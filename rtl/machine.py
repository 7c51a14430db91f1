"""The whole machine, wired: tape, fabric, vector units, caches, sequencer and host link."""

from types import SimpleNamespace

from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2
from celosia.rtl.axi_cache import AxiCache, cache_pins
from celosia.rtl.axi_port import join_pins
from celosia.rtl.axi_registers import AxiRegisters, register_pins
from celosia.rtl.axi_tape import AxiTape, axi_pins
from celosia.rtl.block_quantize import BlockQuantize
from celosia.rtl.buffer import Buffer, Skid
from celosia.rtl.collect import Collect
from celosia.rtl.controller import COUNTERS, Cause, Controller
from celosia.rtl.embedding_words import EMBEDDED_WIDTH, EmbeddingWords
from celosia.rtl.flash_boot import FlashBoot
from celosia.rtl.group_scales import GroupScales, grouped_word
from celosia.rtl.head_quantize import HeadQuantize
from celosia.rtl.host_answers import finished, result
from celosia.rtl.host_link import HostLink
from celosia.rtl.kv_cache import KeyCache, ValueCache, ValueWords
from celosia.rtl.mac_fabric import MacFabric
from celosia.rtl.machine_shape import AxiMemory, SdramMemory
from celosia.rtl.merge import Merge
from celosia.rtl.operand_fetch import OperandFetch
from celosia.rtl.operation import Kind, Operand
from celosia.rtl.pipeline import clamp
from celosia.rtl.queue import Queue
from celosia.rtl.residual import Residual
from celosia.rtl.rms_norm import RmsNorm
from celosia.rtl.rope import Rope
from celosia.rtl.row_choice import RowChoice
from celosia.rtl.row_scales import RowScales
from celosia.rtl.sampler import Sampler
from celosia.rtl.saturations import Saturations
from celosia.rtl.scale import Scale
from celosia.rtl.sdram import sdram_pins
from celosia.rtl.sdram_bursts import CAPACITY
from celosia.rtl.sdram_tape import SdramTape
from celosia.rtl.sequencer import Sequencer
from celosia.rtl.softmax_block import SoftmaxBlock
from celosia.rtl.softmax_sum import SoftmaxSum
from celosia.rtl.spi_flash import SpiFlash, spi_flash_pins
from celosia.rtl.swiglu import SwiGlu
from celosia.rtl.tape import Tape
from celosia.rtl.vector_memory import ActivationMemory, QueryMemory, ScoreMemory
from celosia.rtl.words import framed

__all__ = ["Machine"]

LINK_TIMEOUT = 1 << 20
FLASH_CLOCK = 25_000_000  # Hz, at most: the way through the chip to its pins is long


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
    info : celosia.sim.messages.Info

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
        self._control(m, units)
        self._fetch(m, units)
        self._results(m, units)
        self._watch(m, units)
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
            "swiglu": SwiGlu(lanes, tokens),
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

    def _control(self, m, u):
        """Host link, controller and sequencer; the pass's position wherever it is needed."""
        if self.shape.register_port:
            self._registers(m, u)
        else:
            connect(m, flipped(self.rx), u.link.rx)
            connect(m, u.link.tx, flipped(self.tx))
            m.d.comb += u.controller.abort.eq(u.link.abort)
        connect(m, u.link.command, u.controller.command)
        self._results_queue(m, u)
        connect(m, u.controller.load, u.load.i)
        connect(m, u.load.o, u.sequencer.load)
        connect(m, u.sequencer.fetch, u.fetch.step)
        connect(m, u.sequencer.operation, u.collect.operation)
        connect(m, u.sequencer.scales, u.row_scales.i)
        connect(m, u.sequencer.weights, u.tape.run)
        connect(m, u.sequencer.row_scales, u.scale_tape.run)
        connect(m, u.controller.seed, u.sampler.seed)
        rope_waits = Signal()  # the pass has begun, the rotation's table not yet
        run = u.controller.run
        m.d.comb += [
            u.controller.prompt.valid.eq(u.link.prompt.valid),
            u.controller.prompt.payload.eq(u.link.prompt.payload),
            u.link.prompt.ready.eq(1),
            u.link.busy.eq(u.controller.busy),
            u.controller.idle.eq(u.sequencer.idle),
            u.sequencer.run.payload.eq(run.payload),
            u.sequencer.run.p.position.eq(run.p.position[: ceil_log2(self.shape.max_seq_len)]),
            u.sequencer.run.valid.eq(run.valid & ~rope_waits),
            run.ready.eq(u.sequencer.run.ready & ~rope_waits),
            u.rope.positions.valid.eq(rope_waits),
            u.rope.positions.p.position.eq(u.sequencer.position),
            u.rope.positions.p.tokens.eq(u.sequencer.group + 1),
        ]
        m.d.sync += [  # constant while they are used, so they may be late
            u.sampler.temperature.eq(u.controller.temperature),
            u.softmax.position.eq(u.sequencer.position),
            u.value_words.position.eq(u.sequencer.position),
            *(
                unit.group.eq(u.sequencer.group if self.shape.tokens > 1 else 0)
                for unit in (u.activations, u.collect, u.sums, u.value_words)
            ),
        ]
        with m.If(run.valid & run.ready):
            m.d.sync += rope_waits.eq(1)
        with m.Elif(u.rope.positions.ready):
            m.d.sync += rope_waits.eq(0)
        m.d.comb += [
            self.passes.valid.eq(u.controller.passes.valid),
            self.passes.payload.eq(u.controller.passes.payload),
        ]
        given, logits = Signal(), u.sampler.i  # the last logits, a cycle later
        m.d.sync += given.eq(logits.valid & logits.ready & logits.p.last)
        m.d.comb += [
            u.sequencer.retired.eq(u.activations.written + given),
            u.sequencer.written.eq(Cat(u.queries.written, *self._cache(m, u), u.scores.written)),
        ]

    def _registers(self, m, u):
        """The register port, which may take the host link from the byte streams."""
        m.submodules.registers = registers = AxiRegisters(len(COUNTERS))
        join_pins(m, self, "", registers, register_pins())
        link, done = u.link, u.controller.done
        with m.If(registers.claim):
            m.d.comb += [
                link.rx.payload.eq(registers.rx.payload),
                link.rx.valid.eq(registers.rx.valid),
                registers.rx.ready.eq(link.rx.ready),
                registers.tx.valid.eq(link.tx.valid),
                link.tx.ready.eq(registers.tx.ready),
            ]
        with m.Else():
            m.d.comb += [
                link.rx.payload.eq(self.rx.payload),
                link.rx.valid.eq(self.rx.valid),
                self.rx.ready.eq(link.rx.ready),
                self.tx.valid.eq(link.tx.valid),
                link.tx.ready.eq(self.tx.ready),
            ]
        m.d.comb += [
            self.tx.payload.eq(link.tx.payload),
            registers.tx.payload.eq(link.tx.payload),
            registers.busy.eq(u.controller.busy),
            registers.fault.eq(u.controller.faulty),
            registers.ended.eq(done.valid & done.ready),
            u.controller.abort.eq(link.abort | registers.stop),
            self.interrupt.eq(registers.interrupt),
            *(a.eq(b) for a, b in zip(registers.counters, done.p.counters, strict=True)),
        ]

    def _results_queue(self, m, u):
        """Results wait for the line, so that the machine does not; the end of a run is the last."""
        given, done = u.controller.result, u.controller.done
        m.submodules.results = queue = fifo.SyncFIFOBuffered(
            width=result.size, depth=self.shape.max_seq_len
        )
        connect(m, u.result.o, u.link.result)
        empty = Signal()
        m.d.sync += empty.eq(~given.valid & (queue.level == 0) & ~u.result.o.valid)
        m.d.comb += [
            queue.w_data.eq(given.payload),
            queue.w_en.eq(given.valid),
            given.ready.eq(queue.w_rdy),
            u.result.i.payload.eq(queue.r_data),
            u.result.i.valid.eq(queue.r_rdy),
            queue.r_en.eq(u.result.i.ready),
            u.link.done.payload.eq(done.payload),
            u.link.done.valid.eq(done.valid & empty),
            done.ready.eq(u.link.done.ready & empty),
        ]

    def _fetch(self, m, u):
        """Operands to the fabric, embeddings past it, exponentials also to their sum."""
        if self.shape.groups:
            connect(m, u.tape.o, u.group_scales.i)
            connect(m, u.group_scales.o, u.fetch.tape)
        else:
            connect(m, u.tape.o, u.fetch.tape)
        outside = {}  # units with ports to external memory
        if isinstance(self.weights, AxiMemory):
            outside[u.tape] = axi_pins(self.weights)
        if self.shape.cache_width:
            outside[u.cache] = cache_pins(self.shape.cache_width)
        for unit, pins in outside.items():
            join_pins(m, self, "", unit, pins)
        m.d.comb += u.controller.fault.eq(Cat(unit.error for unit in outside).any())
        if isinstance(self.weights, SdramMemory):
            connect(m, u.tape.pins, flipped(self.sdram))
            self._loads(m, u)
        connect(m, u.scale_tape.o, u.scale_words.i)
        connect(m, u.scale_words.o, u.row_scales.tape)
        connect(m, u.fabric.o, u.collect.tiles)
        connect(m, u.row_scales.o, u.chosen_scales.i)
        connect(m, u.chosen_scales.o, u.collect.row_scales)
        connect(m, u.sums.o, u.collect.sums)
        fetched = u.fetch.o.p
        embedded = u.embedded.i
        if self.shape.groups:
            connect(m, u.embedded.o, u.embedding_words.i)
            connect(m, u.embedding_words.o, u.collect.embedded)
        else:
            connect(m, u.embedded.o, u.collect.embedded)
        choice, chosen = u.row_choice.i, u.row_choice.o
        m.d.comb += [
            choice.valid.eq(u.fetch.o.valid & fetched.embedding),
            choice.p.row.eq(fetched.row),
            embedded.valid.eq(chosen.valid),
        ]
        for word, codes in zip(choice.p.words, fetched.beat.weights, strict=True):
            m.d.comb += word.codes.eq(codes)
        if self.shape.groups:
            for word, read in zip(choice.p.words, fetched.beat.parameters, strict=True):
                m.d.comb += word.parameters.eq(read)
            upper = Signal(2)
            m.d.sync += upper.eq(Cat(upper[1], fetched.upper))
            codes = zip(embedded.p.codes, chosen.p.codes, strict=True)
            m.d.comb += [
                *(a.eq(b) for a, b in codes),
                embedded.p.parameters.eq(chosen.p.parameters),
                embedded.p.upper.eq(upper[0]),
            ]
        else:
            m.d.comb += embedded.payload.eq(chosen.p.codes)
        m.d.comb += [
            u.fabric.i.payload.eq(fetched.beat),
            u.fabric.i.valid.eq(u.fetch.o.valid & ~fetched.embedding),
            u.fetch.full.eq(u.fabric.nearly_full | u.embedded.nearly_full),
            u.sums.i.valid.eq(u.fabric.i.valid & fetched.sum),
            u.sums.i.p.blocks.eq(fetched.beat.activations),
            u.sums.i.p.last.eq(fetched.sum_last),
            u.fetch.activations.eq(u.activations.data),
            u.fetch.queries.eq(u.queries.data),
            u.fetch.scores.eq(u.scores.data),
            u.fetch.largest.eq(u.scores.largest),
            u.scores.buffer.eq(u.fetch.buffer),
            u.activations.refill.eq(u.fetch.refill),
            u.activations.refill_en.eq(u.fetch.refill_en),
            u.queries.head.eq(u.collect.head),
            u.collect.query_steps.eq(u.queries.steps),
        ]
        m.d.comb += [mark.eq(u.activations.filled[n]) for n, mark in enumerate(u.fetch.filled)]
        for unit in (u.activations, u.queries, u.scores):
            m.d.comb += [
                unit.address.eq(u.fetch.activation_address),
                unit.read_en.eq(u.fetch.read_en),
            ]

    def _loads(self, m, u):
        """The host fills the memory, after the boot, if there is one."""
        memory = u.link.memory
        m.d.comb += memory.holds.eq(u.tape.holds)
        if not self.weights.boots:
            for name in ("write", "check"):
                connect(m, getattr(memory, name), getattr(u.tape, name))
            connect(m, u.tape.checksum, memory.checksum)
            return
        boot = FlashBoot(self.weights.size, self.weights.flash)
        m.submodules.boot = boot
        m.submodules.flash = flash = SpiFlash(self.weights.frequency, self._flash_divisor)
        connect(m, boot.read, flash.read)
        connect(m, flash.o, boot.i)
        connect(m, flash.pins, flipped(self.flash))
        m.d.comb += u.link.busy.eq(u.controller.busy | boot.busy)
        with m.If(boot.busy):
            for name in ("write", "check"):
                connect(m, getattr(boot, name), getattr(u.tape, name))
            connect(m, u.tape.checksum, boot.checksum)
        with m.Else():
            for name in ("write", "check"):
                connect(m, getattr(memory, name), getattr(u.tape, name))
            connect(m, u.tape.checksum, memory.checksum)

    @property
    def _flash_divisor(self):
        """Cycles in half a period of the flash's clock."""
        return -(-int(self.weights.frequency) // (2 * FLASH_CLOCK))

    def _cache(self, m, u):
        """Keys and values into the cache, and on to the fabric; when each was written."""
        if self.shape.cache_width:
            keys, values, steps = u.cache.keys, u.cache.values, u.cache
            written = u.cache.written_keys, u.cache.written_values
            connect(m, u.sequencer.recall, u.cache.recall)
            connect(m, u.cache.o, u.fetch.cached)
        else:
            keys, values, steps = u.key_cache.i, u.value_cache.i, u.key_cache
            written = u.key_cache.written, u.value_cache.written
            for unit, read in ((u.key_cache, u.fetch.keys), (u.value_cache, u.fetch.values)):
                m.d.comb += [
                    unit.address.eq(u.fetch.address),
                    unit.read_en.eq(u.fetch.read_en),
                    read.eq(unit.data),
                ]
        connect(m, u.value_words.o, values)
        head = u.head_quantize.o
        m.d.comb += [
            keys.valid.eq(head.valid & head.p.argument[0]),
            keys.p.layer.eq(head.p.argument[1:]),
            keys.p.position.eq(u.sequencer.position + head.p.token),
            *(keys.p[n].eq(head.p[n]) for n in ("data", "head", "word", "step", "last")),
            steps.step_address.eq(u.row_scales.address),
            steps.step_en.eq(u.row_scales.read_en),
            u.row_scales.steps.eq(steps.steps),
        ]
        return written

    def _results(self, m, u):
        """Scaled words to the unit of their kind, and on to the memories."""
        connect(m, u.collect.o, u.scale.i)
        self._distribute(m, u)
        connect(m, u.residual.o, u.norm.i)
        connect(m, u.norm.scalars, u.collect.norms)
        connect(m, u.norm.o, u.merge.i[0])
        hidden, merged = u.swiglu.o, u.merge.i[1]
        m.d.comb += [
            merged.valid.eq(hidden.valid),
            hidden.ready.eq(merged.ready),
            merged.payload.eq(hidden.payload),
            merged.p.index.eq(hidden.p.index + self.shape.hidden_start),
        ]
        connect(m, u.merge.o, u.quantize.i)
        connect(m, u.quantize.o, u.activations.i)
        m.d.comb += [  # the rotation never stalls
            u.turned.i.valid.eq(u.rope.o.valid),
            u.turned.i.payload.eq(u.rope.o.p),
            u.rope.o.ready.eq(1),
        ]
        connect(m, u.turned.o, u.head_quantize.i)
        connect(m, u.softmax.o, u.scores.i)
        head = u.head_quantize.o
        m.d.comb += [
            head.ready.eq(1),
            u.queries.i.valid.eq(head.valid & ~head.p.argument[0]),
            u.queries.i.payload.eq(head.payload),
            u.sampled.i.valid.eq(u.sampler.o.valid),
            u.sampled.i.payload.eq(u.sampler.o.p.token),
            u.sampler.o.ready.eq(1),  # the controller takes a pass's token before the next pass
        ]
        connect(m, u.sampled.o, u.controller.sampled)

    def _distribute(self, m, u):
        """Scaled words to the unit of their kind, through a buffer near each."""
        targets = (
            ("residual", (Kind.LOAD, Kind.ADD), u.residual.i),
            ("heads", (Kind.QUERY, Kind.KEY), u.rope.i),
            ("values", (Kind.VALUE,), u.value_words.i),
            ("scores", (Kind.SCORE,), u.softmax.i),
            ("attention", (Kind.ATTENTION,), u.merge.i[2]),
            ("hidden", (Kind.SWIGLU,), u.swiglu.i),
            ("logits", (Kind.LOGITS,), u.sampler.i),
        )
        waits = {"heads": u.turned.nearly_full}
        m.submodules.scaled = skid = Skid(u.scale.o.p.shape())
        connect(m, u.scale.o, skid.i)
        scaled = skid.o
        buffers = {name: Buffer(scaled.p.shape()) for name, _, _ in targets}
        # Any full one stops the words of all: each empties by itself, and none does so often.
        m.d.comb += scaled.ready.eq(Cat(buffer.i.ready for buffer in buffers.values()).all())
        for name, kinds, target in targets:
            m.submodules[f"scaled_{name}"] = buffer = buffers[name]
            moves = ~waits[name] if name in waits else 1
            word, width = buffer.o.p, len(target.p.data[0])
            here = Cat(scaled.p.kind == kind for kind in kinds).any()
            m.d.comb += [
                buffer.i.payload.eq(scaled.payload),
                buffer.i.valid.eq(scaled.valid & scaled.ready & here),
                target.valid.eq(buffer.o.valid & moves),
                buffer.o.ready.eq(target.ready & moves),
                *(target.p.data[n].eq(clamp(x, width)) for n, x in enumerate(word.data)),
                *(target.p[n].eq(word[n]) for n in ("token", "index", "argument", "last")),
            ]
        word = buffers["residual"].o.p
        m.d.comb += [
            u.residual.i.p.load.eq(word.kind == Kind.LOAD),
            u.residual.i.p.norm.eq(word.norm),
        ]

    def _watch(self, m, u):
        """The taps, and the cause of every cycle."""
        fetched = u.fetch.o
        operand = u.fetch.operand
        cause = Signal(Cause)
        with m.If(fetched.valid):
            with m.If(fetched.p.embedding):
                m.d.comb += cause.eq(Cause.EMBEDDING)
            with m.Elif(operand == Operand.KEYS):
                m.d.comb += cause.eq(Cause.SCORES)
            with m.Elif(operand == Operand.VALUES):
                m.d.comb += cause.eq(Cause.VALUES)
            with m.Else():
                m.d.comb += cause.eq(Cause.LINEAR)
        with m.Elif(u.fetch.crowded):
            m.d.comb += cause.eq(Cause.RESULTS)
        with m.Elif(u.fetch.waiting):
            m.d.comb += cause.eq(Cause.TAPE)
        with m.Elif(u.fetch.recalling):
            m.d.comb += cause.eq(Cause.CACHE)
        with m.Elif(u.fetch.starved):
            m.d.comb += cause.eq(Cause.ACTIVATIONS)
        with m.Elif(u.sequencer.blocked):
            m.d.comb += cause.eq(Cause.ORDER)
        with m.Elif(u.sequencer.dispatching):
            m.d.comb += cause.eq(Cause.DISPATCH)
        with m.Elif(~u.sequencer.idle):
            m.d.comb += cause.eq(Cause.DRAIN)
        with m.Else():
            m.d.comb += cause.eq(Cause.CONTROL)
        m.d.sync += u.controller.cause.eq(cause)  # counted a cycle later
        for n, (unit, port) in enumerate(
            (
                (u.saturated_residual, u.residual.o),
                (u.saturated_activations, u.merge.o),
                (u.saturated_values, u.value_words.i),
            )
        ):
            m.d.comb += [
                unit.valid.eq(port.valid & port.ready),
                unit.values.eq(port.p.data),
                u.controller.saturated[n].eq(unit.count),
            ]
        logits = u.sampler.i
        watched = (u.collect.o, u.residual.o, u.rope.o, u.softmax.o, u.swiglu.o, u.quantize.o)
        m.d.comb += [
            self.logits.valid.eq(logits.valid & logits.ready),
            self.logits.payload.eq(logits.payload),
            self.activity.eq(
                Cat(cause, u.controller.busy, *(o.valid for o in watched), logits.valid)
            ),
        ]
