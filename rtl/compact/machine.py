"""The compact machine: one small datapath, one vector operation at a time."""

from types import SimpleNamespace

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2
from celosia.rtl.compact.boot import CompactBoot
from celosia.rtl.compact.control import CompactControl
from celosia.rtl.compact.operands import CompactOperands
from celosia.rtl.compact.operation import A, Stride, Table
from celosia.rtl.compact.products import CompactProducts
from celosia.rtl.compact.sequencer import CompactSequencer
from celosia.rtl.compact.vector import CompactVector
from celosia.rtl.host.host_answers import finished
from celosia.rtl.host.host_link import HostLink
from celosia.rtl.memory.spi_flash import spi_flash_pins
from celosia.rtl.memory.spram import Spram
from celosia.rtl.token.sampler import Sampler

__all__ = ["CompactMachine"]

LINK_TIMEOUT = 1 << 18


class CompactMachine(wiring.Component):
    """A decoder model: prompt in, tokens out, over a byte stream.

    Without ``shape.sampling`` the likeliest token each time.

    Bit-exact with :func:`celosia.reference.compact.arithmetic.generate`.

    Parameters
    ----------
    shape : CompactShape
    image : CompactImage
    info : celosia.protocol.messages.Info
    flash : int, optional
        Where in a serial flash the tape of weights lies, from which it is copied at start. Without
        it the memory holds the tape from the beginning: block RAM can, single-port memories only
        in a simulation.

    Members
    -------
    rx, tx : In, Out(stream of unsigned(8))
        The host link.
    logits : Out(stream of signed(24)), always ready
        A tap: logits, one by one.
    passes : Out(stream), always ready
        A tap: each finished token's position and cycles.
    flash : Out(spi_flash_pins), where there is one
    activity : Out(unsigned(5))
        A tap: the run state is bit 4.
    """

    def __init__(self, shape, image, info, flash=None):
        self.shape = shape
        self.image = image
        self.info = info
        self.offset = flash
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "tx": Out(stream.Signature(8)),
                "logits": Out(stream.Signature(signed(24), always_ready=True)),
                "passes": Out(stream.Signature(finished, always_ready=True)),
                "activity": Out(5),
                **({} if flash is None else {"flash": Out(spi_flash_pins())}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        s, image = self.shape, self.image
        m.submodules.link = link = HostLink(
            self.info, LINK_TIMEOUT, plain=True, greedy=not s.sampling
        )
        m.submodules.host = host = CompactControl(s.max_seq_len, s.vocab_size)
        tape = self._tape(m)
        m.submodules.sequencer = sequencer = CompactSequencer(s, image.program)
        m.submodules.products = products = CompactProducts(s)
        m.submodules.operands = operands = CompactOperands(s, image)
        m.submodules.vector = vector = CompactVector(
            s.activation,
            s.gate_shift,
            max(24, s.acc_width),
            s.sum_width,
            s.window,
            s.bits["beats"],
        )
        connect(m, flipped(self.rx), link.rx)
        connect(m, link.tx, flipped(self.tx))
        connect(m, link.command, host.command)
        connect(m, host.result, link.result)
        connect(m, host.done, link.done)
        m.d.comb += link.value.eq(host.cycles)
        connect(m, host.token, sequencer.token)
        run, row = sequencer.run, Signal(20)
        m.d.comb += row.eq(host.token.p.token)
        if s.positions:  # their table lies behind the tokens', from a whole tile on
            with m.If(run.control.a == A.POSITION):
                m.d.comb += row.eq(-(-s.vocab_size // s.rows) * s.rows + host.token.p.position)
        m.d.comb += [
            host.prompt.valid.eq(link.prompt.valid),
            host.prompt.payload.eq(link.prompt.payload),
            link.prompt.ready.eq(1),
            host.abort.eq(link.abort),
            link.busy.eq(host.busy),
            self.activity.eq(host.busy << 4),
            self.logits.valid.eq(vector.tap),
            self.logits.payload.eq(vector.tapped),
            self.passes.valid.eq(host.passes.valid),
            self.passes.payload.eq(host.passes.payload),
            sequencer.issue.eq(products.issue),
            tape.addr.eq(products.addr),
            products.read.eq(tape.read),
            *(unit.run.eq(run) for unit in (products, operands)),
            *(unit.row.eq(row) for unit in (products, operands)),
            operands.issue.eq(products.issue),
            operands.product.eq(products.product),
            operands.weight.eq(products.weight),
            operands.adding.eq(vector.adding),
            operands.exponent.eq(vector.exponent),
            *(getattr(vector, n).eq(getattr(operands, n)) for n in ("a", "b", "add", "shift")),
            *(getattr(vector, n).eq(run[n]) for n in ("control", "begin", "valid", "positions")),
            vector.last.eq(~run.left),
        ]
        self._results(m, run, vector, products, operands)
        self._token(m, host, vector, sequencer)
        if self.offset is not None:
            self._boot(m, link, tape)
        return m

    def _results(self, m, run, vector, products, operands):
        """Results to the memories."""
        s, control, late = self.shape, run.control, vector.late
        target = Signal(range(s.columns * max(s.cache_words * s.n_layers, s.vector_words)))
        octets = ceil_log2(s.columns)
        base = Signal.like(target)
        with m.If(control.key):
            m.d.comb += base.eq((run.cache_base << octets) + run.slot_bytes)
        with m.Elif(control.value):
            m.d.comb += base.eq((run.cache_base << octets) + run.slot)
        stride = Signal(range(s.window + 1))
        with m.Switch(late.stride):
            with m.Case(Stride.ONE):
                m.d.comb += stride.eq(1)
            with m.Case(Stride.FOUR):
                m.d.comb += stride.eq(4)
            with m.Default():
                m.d.comb += stride.eq(s.window)
        with m.If(vector.turn):
            m.d.sync += target.eq(base + run.word.target)
        with m.Elif(vector.write):
            m.d.sync += target.eq(target + stride)
        for unit in (products, operands):
            m.d.comb += [unit.target.eq(target), unit.y.eq(vector.y)]
        m.d.comb += [
            operands.plain.eq(Mux(late.table == Table.GATE, vector.plain, vector.y)),
            operands.wide.eq(vector.write & late.wide),
            operands.half.eq(vector.write & late.half),
            products.byte.eq(vector.write & late.byte),
            products.cached.eq(vector.write & (late.key | late.value)),
        ]

    def _token(self, m, host, vector, sequencer):
        """The next token: the likeliest, or a sampled one, on which the sequencer waits."""
        if not self.shape.sampling:
            m.d.comb += [host.sampled.eq(vector.largest), sequencer.empty.eq(vector.empty)]
            return
        vocab_size, fraction = self.shape.vocab_size, self.shape.logit_fraction
        m.submodules.sampler = sampler = Sampler(1, vocab_size, fraction)
        word, waits = sampler.i, Signal()
        index = Signal(range(vocab_size))
        m.d.comb += [
            sampler.temperature.eq(host.temperature),
            sampler.seed.valid.eq(host.seed.valid),
            sampler.seed.payload.eq(host.seed.payload),
            word.valid.eq(vector.tap),
            word.p.data[0].eq(vector.tapped),
            word.p.index.eq(index),
            word.p.last.eq(index == vocab_size - 1),
            sampler.o.ready.eq(1),
            sequencer.empty.eq(vector.empty & ~waits),
        ]
        with m.If(word.valid):
            m.d.sync += [index.eq(Mux(word.p.last, 0, index + 1)), waits.eq(1)]
        with m.If(sampler.o.valid):
            m.d.sync += [waits.eq(0), host.sampled.eq(sampler.o.p.token)]

    def _tape(self, m):
        """The memory of the tape of weights."""
        s, words = self.shape, self.image.weights
        if s.spram:
            m.submodules.tape = tape = Spram(s.word_bits, words if self.offset is None else ())
            return tape
        m.submodules.tape = store = memory.Memory(
            shape=unsigned(s.word_bits), depth=len(words), init=words
        )
        port = store.read_port()
        return SimpleNamespace(addr=port.addr, read=port.data)

    def _boot(self, m, link, tape):
        """The tape of weights comes from the flash at start."""
        size = len(self.image.weights)
        m.submodules.boot = boot = CompactBoot(size, self.offset, self.info.frequency)
        connect(m, boot.flash, flipped(self.flash))
        m.d.comb += [tape.en.eq(boot.en), tape.write.eq(boot.octets)]
        with m.If(boot.busy):
            m.d.comb += [link.busy.eq(1), tape.addr.eq(boot.addr)]
