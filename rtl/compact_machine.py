"""The compact machine: one small datapath, one vector operation at a time."""

from dataclasses import dataclass
from types import SimpleNamespace

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.reference.compact_tables import scale_values
from celosia.rtl.compact_boot import CompactBoot
from celosia.rtl.compact_control import CompactControl
from celosia.rtl.compact_fabric import CompactFabric
from celosia.rtl.compact_operation import (
    A,
    Add,
    B,
    Exponent,
    Step,
    Stride,
    control_layout,
    control_value,
    instruction_layout,
)
from celosia.rtl.compact_vector import CompactVector
from celosia.rtl.host_answers import finished
from celosia.rtl.host_link import HostLink
from celosia.rtl.spi_flash import spi_flash_pins
from celosia.rtl.spram import Spram

__all__ = ["CompactImage", "CompactMachine", "CompactShape"]

LINK_TIMEOUT = 1 << 18


@dataclass(frozen=True)
class CompactShape:
    """A compact machine's sizes.

    Parameters
    ----------
    dim, head_dim, n_layers, vocab_size, window, max_seq_len : int
    acc_width : int
        Bits of a dot product.
    wide_depth, half_depth, vector_words : int
        Words of the wide memory (24 bits), the half memory (16) and of activations (4 bytes).
    cache_words : int
        Words of 4 bytes in a layer's keys and values.
    embedding_address, embedding_scale : int
        Where on the tape of weights and on that of scales the embedding begins.
    loop : int
        The first instruction of a layer.
    """

    dim: int
    head_dim: int
    n_layers: int
    vocab_size: int
    window: int
    max_seq_len: int
    acc_width: int
    wide_depth: int
    half_depth: int
    vector_words: int
    cache_words: int
    embedding_address: int
    embedding_scale: int
    loop: int

    lanes = 1  # of what comes out
    multipliers = 16


@dataclass(frozen=True)
class CompactImage:
    """What a compact machine's memories hold.

    Parameters
    ----------
    program : list of Instruction
    weights : list of int
        Words of 64 bits: four rows of four columns of 4 bits.
    scales : list of int
        4 bits each: rows' scales and operations' shifts, in the order of their use.
    gains : list of int
        Signed bytes.
    wide, half : list of int
        The first contents of these memories.
    """

    program: list
    weights: list
    scales: list
    gains: list
    wide: list
    half: list


class CompactMachine(wiring.Component):
    """A decoder model: prompt in, tokens out, over a byte stream; the likeliest token each time.

    Bit-exact with :func:`celosia.reference.compact.generate`.

    Parameters
    ----------
    shape : CompactShape
    image : CompactImage
    info : celosia.sim.messages.Info
    flash : int, optional
        Where in a serial flash the tape of weights lies, from which it is copied at start. Without
        it the memory holds the tape from the beginning, which only a simulation can.

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
        u = SimpleNamespace(
            link=HostLink(self.info, LINK_TIMEOUT, plain=True),
            host=CompactControl(s.max_seq_len, s.vocab_size),
            tape=Spram(64, image.weights if self.offset is None else ()),
            fabric=CompactFabric(s.acc_width),
            vector=CompactVector(),
        )
        for name, unit in vars(u).items():
            m.submodules[name] = unit
        connect(m, flipped(self.rx), u.link.rx)
        connect(m, u.link.tx, flipped(self.tx))
        connect(m, u.link.command, u.host.command)
        connect(m, u.host.result, u.link.result)
        connect(m, u.host.done, u.link.done)
        m.d.comb += [
            u.host.prompt.valid.eq(u.link.prompt.valid),
            u.host.prompt.payload.eq(u.link.prompt.payload),
            u.link.prompt.ready.eq(1),
            u.host.abort.eq(u.link.abort),
            u.link.busy.eq(u.host.busy),
            self.activity.eq(u.host.busy << 4),
            self.logits.valid.eq(u.vector.tap),
            self.logits.payload.eq(u.vector.tapped),
            self.passes.valid.eq(u.host.passes.valid),
            self.passes.payload.eq(u.host.passes.payload),
        ]
        run = self._sequence(m, u)
        self._second_operands(m, u, run)
        self._dot_products(m, u, run)
        self._wide_memory(m, u, run)
        self._targets(m, u, run)
        if self.offset is not None:
            m.submodules.boot = boot = CompactBoot(
                len(image.weights), self.offset, self.info.frequency
            )
            connect(m, boot.flash, flipped(self.flash))
            m.d.comb += [u.tape.en.eq(boot.en), u.tape.write.eq(boot.octets)]
            with m.If(boot.busy):
                m.d.comb += [u.link.busy.eq(1), u.tape.addr.eq(boot.addr)]
        return m

    def _program(self, m, pc):
        """The instruction at ``pc`` a cycle later, and its control."""
        program = self.image.program
        controls = list(dict.fromkeys(i.control for i in program))
        words = [i.pack(controls) for i in program]
        m.submodules.program = store = memory.Memory(
            shape=unsigned(instruction_layout().size), depth=max(256, len(words)), init=words
        )
        read = store.read_port()
        m.d.comb += read.addr.eq(pc)
        word = instruction_layout()(read.data)
        control = Signal(control_layout())
        with m.Switch(word.kind):
            for kind, one in enumerate(controls):
                with m.Case(kind):
                    m.d.comb += control.eq(control_value(one))
        return word, control

    def _sequence(self, m, u):
        """Fetch instructions, token by token, and see to their ends."""
        s, token = self.shape, u.host.token
        pc = Signal(range(max(256, len(self.image.program))))
        word, control = self._program(m, pc)
        layer = Signal(range(s.n_layers))
        run = SimpleNamespace(
            word=word,
            control=control,
            begin=Signal(name="begin"),  # the instruction's first cycle
            going=Signal(name="going"),  # its others
            issue=Signal(name="issue"),  # a product's operands are read
            valid=Signal(name="valid"),  # and are there
            rewind=Signal(name="rewind"),
            left=Signal(10, name="left"),  # products still to be issued
            cache_base=Signal(range(s.cache_words * s.n_layers), name="cache_base"),
            slot=Signal(range(s.window), name="slot"),
            slot_bytes=Signal(range(s.window * s.head_dim), name="slot_bytes"),
        )
        positions = Signal(range(s.window + 1))
        over = Signal()
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [layer.eq(0), run.cache_base.eq(0), pc.eq(1)]
                with m.If(token.valid):
                    m.next = "FETCH"
                    with m.If(token.p.first):
                        m.d.sync += [pc.eq(0), positions.eq(1)]
                        m.d.sync += [run.slot.eq(0), run.slot_bytes.eq(0)]
            with m.State("FETCH"):
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += run.begin.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += run.going.eq(1)
                with m.If((run.left == 0) & u.vector.empty & ~run.valid):
                    m.d.comb += run.rewind.eq(control.rewind)
                    m.d.sync += pc.eq(pc + 1)
                    m.next = "FETCH"
                    with m.If(control.loop & (layer != s.n_layers - 1)):
                        m.d.sync += [layer.eq(layer + 1), pc.eq(s.loop)]
                        m.d.sync += run.cache_base.eq(run.cache_base + s.cache_words)
                    with m.If(control.end | (control.stop & ~token.p.logits)):
                        m.d.comb += over.eq(1)
                        m.next = "IDLE"
        with m.If(over):
            m.d.sync += [run.slot.eq(run.slot + 1)]
            m.d.sync += run.slot_bytes.eq(run.slot_bytes + s.head_dim)
            with m.If(run.slot == s.window - 1):
                m.d.sync += [run.slot.eq(0), run.slot_bytes.eq(0)]
            with m.If(positions != s.window):
                m.d.sync += positions.eq(positions + 1)
        with m.If(run.begin):
            m.d.sync += run.left.eq(word.count)
        with m.Elif(run.issue):
            m.d.sync += run.left.eq(run.left - 1)
        m.d.sync += run.valid.eq(run.issue)
        m.d.comb += [
            token.ready.eq(over),
            u.host.sampled.eq(u.vector.largest),
            u.vector.control.eq(control),
            u.vector.begin.eq(run.begin),
            u.vector.positions.eq(positions),
            u.vector.valid.eq(run.valid),
            u.vector.last.eq(run.left == 0),
        ]
        return run

    def _second_operands(self, m, u, run):
        """Scales and gains in their order, the half memory, the shift."""
        s, control = self.shape, run.control
        embeds = control.a == A.EMBEDDING
        scales, scale_place = _tape(m, "scales", unsigned(4), self.image.scales)
        gains, gain_place = _tape(m, "gains", signed(8), self.image.gains)
        with m.If(run.valid & (control.b == B.SCALE) & ~embeds):
            m.d.comb += scale_place.step.eq(1)
        with m.If(run.begin & control.tape_shift):
            m.d.comb += scale_place.step.eq(1)
        with m.If(run.begin & embeds):
            m.d.comb += [
                scale_place.load.eq(1),
                scale_place.place.eq(s.embedding_scale + u.host.token.p.token),
            ]
        m.d.comb += gain_place.step.eq(run.valid & (control.b == B.GAIN))
        with m.If(run.rewind):
            m.d.comb += [scale_place.load.eq(1), gain_place.load.eq(1)]

        base = Signal(5)
        with m.If(run.begin):
            m.d.sync += base.eq(run.word.shift + Mux(control.tape_shift, scales, 0))
        exponent = u.vector.exponent
        with m.Switch(control.exponent):
            with m.Case(Exponent.NONE):
                m.d.sync += u.vector.shift.eq(base)
            with m.Case(Exponent.PLUS):
                m.d.sync += u.vector.shift.eq(base + exponent)
            with m.Case(Exponent.HALF):
                m.d.sync += u.vector.shift.eq(base + (exponent >> 1))
            with m.Case(Exponent.MINUS):
                m.d.sync += u.vector.shift.eq(base - exponent)

        m.submodules.half = half = memory.Memory(
            shape=signed(16), depth=s.half_depth, init=self.image.half
        )
        run.half_write, read = half.write_port(), half.read_port()
        place = Signal(range(s.half_depth))
        m.d.comb += read.addr.eq(place)
        with m.If(run.begin):
            m.d.sync += place.eq(run.word.second)
        with m.Elif(run.issue & control.b_next):
            m.d.sync += place.eq(place + 1)
        value = Signal(unsigned(8))
        with m.Switch(scales):
            for code, one in enumerate(scale_values().tolist()):
                with m.Case(code):
                    m.d.comb += value.eq(one)
        with m.Switch(control.b):
            with m.Case(B.HALF):
                m.d.comb += u.vector.b.eq(read.data)
            with m.Case(B.SCALE):
                m.d.comb += u.vector.b.eq(value)
            with m.Default():
                m.d.comb += u.vector.b.eq(gains)

    def _dot_products(self, m, u, run):
        """Beats of weights or of cached bytes, with activations; and when results are taken."""
        s, control, fabric = self.shape, run.control, u.fabric
        products = control.a == A.PRODUCT
        token = u.host.token.p.token
        m.submodules.vectors = vectors = memory.Memory(
            shape=unsigned(32), depth=s.vector_words, init=[]
        )
        m.submodules.cache = cache = memory.Memory(
            shape=unsigned(32), depth=s.cache_words * s.n_layers, init=[]
        )
        run.vector_write = vectors.write_port(granularity=8)
        run.cache_write = cache.write_port(granularity=8)
        x, cached = vectors.read_port(), cache.read_port()
        place, lane = Signal(14), Signal(2)
        cache_place = Signal(range(s.cache_words * s.n_layers))
        vector_place = Signal(range(s.vector_words))
        beat = Signal.like(control.beats)
        rows = Signal(signed(11))  # still to be fed
        feed, last = Signal(), Signal()
        m.d.comb += [
            feed.eq(run.going & products & (rows > 0)),
            last.eq(beat == control.beats - 1),
            u.tape.addr.eq(place),
            cached.addr.eq(cache_place),
            x.addr.eq(vector_place),
        ]
        with m.If(feed):
            m.d.sync += [beat.eq(beat + 1), vector_place.eq(vector_place + 1)]
            m.d.sync += cache_place.eq(cache_place + 1)
            with m.If(~control.cache):
                m.d.sync += place.eq(place + 1)
            with m.If(last):
                m.d.sync += [beat.eq(0), vector_place.eq(run.word.vector)]
                m.d.sync += rows.eq(rows - Mux(control.cache, 1, 4))
        with m.If(run.issue & (control.a == A.EMBEDDING)):
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == 3):
                m.d.sync += place.eq(place + 1)
        with m.If(run.begin):
            m.d.sync += [
                rows.eq(run.word.count),
                beat.eq(0),
                lane.eq(0),
                vector_place.eq(run.word.vector),
                cache_place.eq(run.cache_base + run.word.source),
            ]
            with m.If(control.a == A.EMBEDDING):
                m.d.sync += place.eq(s.embedding_address + (token >> 2) * (s.dim // 4))
        with m.If(run.rewind):
            m.d.sync += place.eq(0)

        first = Signal()
        m.d.sync += [fabric.beat.eq(feed), first.eq(beat == 0), fabric.last.eq(last)]
        m.d.comb += [
            fabric.first.eq(first),
            fabric.x.as_value().eq(x.data),
            fabric.bytes.as_value().eq(cached.data),
            fabric.weights.as_value().eq(u.tape.read),
            fabric.cached.eq(control.cache),
            fabric.next.eq(run.valid & products),
        ]
        more = Signal(2)
        with m.If(fabric.done):
            m.d.sync += more.eq(Mux(control.cache, 0, 3))
        with m.Elif(more != 0):
            m.d.sync += more.eq(more - 1)
        ready = Signal()
        m.d.comb += [
            ready.eq(~products | fabric.done | (more != 0)),
            run.issue.eq(run.going & (run.left != 0) & ready),
        ]
        before = Signal(2)
        m.d.sync += before.eq(lane)
        row = u.tape.read.word_select(token[:2], 16)
        run.weight = Signal(signed(4))
        m.d.comb += run.weight.eq(row.word_select(before, 4))

    def _wide_memory(self, m, u, run):
        """The first operand, and what is added to results."""
        s, control = self.shape, run.control
        m.submodules.wide = wide = memory.Memory(
            shape=signed(24), depth=s.wide_depth, init=self.image.wide
        )
        run.wide_write, read = wide.write_port(), wide.read_port()
        place, add_place = (Signal(range(s.wide_depth), name=n) for n in ("place", "add_place"))
        phase = Signal(2)
        with m.If(run.issue):
            m.d.sync += phase.eq(phase + 1)
            with m.Switch(control.step):
                with m.Case(Step.NEXT):
                    m.d.sync += place.eq(place + 1)
                with m.Case(Step.SECOND):
                    m.d.sync += place.eq(place + 2)
                with m.Case(Step.PAIRS):
                    m.d.sync += place.eq(Mux(phase == 1, place - 1, place + 1))
        with m.If(u.vector.adding):
            m.d.sync += add_place.eq(add_place + 1)
        with m.If(run.begin):
            m.d.sync += [place.eq(run.word.source), phase.eq(0), add_place.eq(run.word.target)]
        m.d.comb += [
            read.addr.eq(Mux(control.add == Add.WIDE, add_place, place)),
            u.vector.add.eq(read.data),
        ]
        with m.Switch(control.a):
            with m.Case(A.WIDE):
                m.d.comb += u.vector.a.eq(read.data)
            with m.Case(A.PRODUCT):
                m.d.comb += u.vector.a.eq(u.fabric.result)
            with m.Default():
                m.d.comb += u.vector.a.eq(run.weight << 12)

    def _targets(self, m, u, run):
        """Results to the memories."""
        s, control, vector = self.shape, run.control, u.vector
        target = Signal(range(max(4 * s.cache_words * s.n_layers, 4 * s.vector_words)))
        base = Signal.like(target)
        with m.If(control.key):
            m.d.comb += base.eq((run.cache_base << 2) + run.slot_bytes)
        with m.Elif(control.value):
            m.d.comb += base.eq((run.cache_base << 2) + run.slot)
        stride = Signal(range(s.window + 1))
        with m.Switch(control.stride):
            with m.Case(Stride.ONE):
                m.d.comb += stride.eq(1)
            with m.Case(Stride.FOUR):
                m.d.comb += stride.eq(4)
            with m.Default():
                m.d.comb += stride.eq(s.window)
        with m.If(run.begin):
            m.d.sync += target.eq(base + run.word.target)
        with m.Elif(vector.write):
            m.d.sync += target.eq(target + stride)
        byte_en = Signal(4)
        m.d.comb += byte_en.eq(1 << target[:2])
        for port, chosen in ((run.wide_write, control.wide), (run.half_write, control.half)):
            m.d.comb += [
                port.addr.eq(target),
                port.data.eq(vector.y),
                port.en.eq(vector.write & chosen),
            ]
        cached = control.key | control.value
        for port, chosen in ((run.vector_write, control.byte), (run.cache_write, cached)):
            m.d.comb += [
                port.addr.eq(target >> 2),
                port.data.eq(vector.y[:8].replicate(4)),
                port.en.eq(Mux(vector.write & chosen, byte_en, 0)),
            ]


def _tape(m, name, shape, init):
    """What is read once per token, in order: the value at the place, and how that moves."""
    m.submodules[name] = store = memory.Memory(shape=shape, depth=len(init), init=init)
    read = store.read_port()
    move = SimpleNamespace(
        step=Signal(name=f"{name}_step"),
        load=Signal(name=f"{name}_load"),
        place=Signal(range(len(init)), name=f"{name}_place"),
    )
    place = Signal(range(len(init)))
    m.d.comb += read.addr.eq(place)
    with m.If(move.load):
        m.d.comb += read.addr.eq(move.place)
    with m.Elif(move.step):
        m.d.comb += read.addr.eq(place + 1)
    m.d.sync += place.eq(read.addr)
    return read.data, move
