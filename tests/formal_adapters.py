"""Units with a bus or a machine around them, as units of streams alone."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.host.axi_registers import AxiRegisters
from celosia.rtl.kv_cache.axi_cache import PREFIX, AxiCache
from celosia.rtl.kv_cache.axi_write import AxiBlockWriter
from celosia.rtl.kv_cache.places import CachePlaces, cached_layout
from celosia.rtl.machine.operand_fetch import OperandFetch
from celosia.rtl.machine.program import Load, Program
from celosia.rtl.machine.sequencer import Sequencer
from celosia.rtl.memory.axi_port import ADDRESS_WIDTH
from celosia.rtl.memory.axi_tape import AxiTape
from celosia.rtl.stream.queue import Queue

__all__ = [
    "AxiCaching",
    "AxiReading",
    "AxiTaping",
    "AxiWriting",
    "QueuedFetch",
    "RegisterAccess",
    "RetiringSequencer",
]

REQUEST = data.StructLayout({"address": ADDRESS_WIDTH, "length": 8})


def _pins(unit, prefix):
    """The ports of ``unit`` by their names without ``prefix``."""
    return lambda name: getattr(unit, prefix + name)


def _answer_reads(m, unit, prefix, requests, answers, data):
    """Requests as a stream; a transfer asked for comes in each cycle with ``answers``."""
    pin = _pins(unit, prefix)
    awaited = Signal(24)
    m.d.comb += [
        requests.valid.eq(pin("arvalid")),
        requests.p.address.eq(pin("araddr")),
        requests.p.length.eq(pin("arlen")),
        pin("arready").eq(requests.ready),
        pin("rvalid").eq(answers & (awaited != 0)),
        pin("rdata").eq(data),
    ]
    asked = Mux(requests.valid & requests.ready, pin("arlen") + 1, 0)
    m.d.sync += awaited.eq(awaited + asked - pin("rvalid"))


def _answer_writes(m, unit, prefix, addresses, words):
    """Bursts as streams, answered in the next cycle."""
    pin = _pins(unit, prefix)
    asked, sent, answered = Signal(4), Signal(4), Signal()  # bursts not yet answered
    m.d.comb += [
        addresses.valid.eq(pin("awvalid")),
        addresses.p.address.eq(pin("awaddr")),
        addresses.p.length.eq(pin("awlen")),
        pin("awready").eq(addresses.ready),
        words.valid.eq(pin("wvalid")),
        words.payload.eq(Cat(pin("wdata"), pin("wstrb"), pin("wlast"))),
        pin("wready").eq(words.ready),
        answered.eq((asked != 0) & (sent != 0)),
        pin("bvalid").eq(answered),
    ]
    m.d.sync += [
        asked.eq(asked + (addresses.valid & addresses.ready) - answered),
        sent.eq(sent + (words.valid & words.ready & words.p.last) - answered),
    ]


def _bursts(data_width):
    """Streams of a write's addresses and words."""
    words = {"data": data_width, "strobes": data_width // 8, "last": 1}
    return {
        "addresses": Out(stream.Signature(REQUEST)),
        "words": Out(stream.Signature(data.StructLayout(words))),
    }


class AxiCaching(wiring.Component):
    """An :class:`AxiCache` of operations of one block each, and its memory.

    A block comes only after the one before it was written. A transfer that was asked for comes in
    each cycle in which ``answers`` is high; bursts are answered in the next cycle.
    """

    def __init__(self):
        self.cache = AxiCache(CachePlaces(2, 2, (2,), 1, 1), 1, 32, buffer=16)
        members = self.cache.signature.members
        blocks = stream.Signature(cached_layout(2))
        super().__init__(
            {
                "keys": In(blocks),
                "values": In(blocks),
                "recall": members["recall"],
                "o": members["o"],
                "requests": Out(stream.Signature(REQUEST)),
                "answers": In(1),
                "data": In(32),
                **_bursts(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.cache = cache = self.cache
        connect(m, flipped(self.recall), cache.recall)
        connect(m, cache.o, flipped(self.o))
        for name in ("keys", "values"):
            blocks, port, idle = getattr(self, name), getattr(cache, name), Signal(init=1)
            written = getattr(cache, f"written_{name}")
            m.d.comb += [
                blocks.ready.eq(idle),
                port.valid.eq(blocks.valid & idle),
                port.payload.eq(blocks.payload),
                port.p.last.eq(1),
            ]
            m.d.sync += idle.eq(Mux(idle, ~blocks.valid, written))
        _answer_reads(m, cache, PREFIX, self.requests, self.answers, self.data)
        _answer_writes(m, cache, PREFIX, self.addresses, self.words)
        return m


class AxiReading(wiring.Component):
    """A reader of AXI4 memory, whose requests are a stream, and the memory.

    A transfer that was asked for comes in each cycle in which ``answers`` is high.
    """

    def __init__(self, reader):
        self.reader = reader
        members = reader.signature.members
        super().__init__(
            {
                "run": members["run"],
                "o": members["o"],
                "requests": Out(stream.Signature(REQUEST)),
                "answers": In(1),
                "data": In(reader.data_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self.reader
        connect(m, flipped(self.run), reader.run)
        connect(m, reader.o, flipped(self.o))
        _answer_reads(m, reader, "", self.requests, self.answers, self.data)
        return m


class AxiTaping(wiring.Component):
    """A tape of AXI4 memory behind two ports, each as :class:`AxiReading` has it."""

    def __init__(self):
        self.tape = AxiTape(16, 32, 2, 16)
        members = self.tape.signature.members
        super().__init__(
            {
                "run": members["run"],
                "o": members["o"],
                "requests": Out(stream.Signature(REQUEST)).array(2),
                "answers": In(2),
                "data": In(32).array(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.tape = tape = self.tape
        connect(m, flipped(self.run), tape.run)
        connect(m, tape.o, flipped(self.o))
        for n, request in enumerate(self.requests):
            _answer_reads(m, tape, f"m_axi{n}_", request, self.answers[n], self.data[n])
        return m


class RegisterAccess(wiring.Component):
    """:class:`AxiRegisters`, whose five channels are streams."""

    def __init__(self):
        self.registers = AxiRegisters(1)
        plain = ("rx", "tx", "busy", "fault", "ended")
        super().__init__(
            {name: self.registers.signature.members[name] for name in plain}
            | {
                "reads": In(stream.Signature(12)),
                "values": Out(stream.Signature(data.StructLayout({"data": 32, "error": 2}))),
                "addresses": In(stream.Signature(12)),
                "words": In(stream.Signature(data.StructLayout({"data": 32, "strobes": 4}))),
                "results": Out(stream.Signature(2)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = r = self.registers
        connect(m, r.rx, flipped(self.rx))
        connect(m, flipped(self.tx), r.tx)
        m.d.comb += [
            *(getattr(r, name).eq(getattr(self, name)) for name in ("busy", "fault", "ended")),
            r.s_axi_araddr.eq(self.reads.payload),
            r.s_axi_arvalid.eq(self.reads.valid),
            self.reads.ready.eq(r.s_axi_arready),
            self.values.p.data.eq(r.s_axi_rdata),
            self.values.p.error.eq(r.s_axi_rresp),
            self.values.valid.eq(r.s_axi_rvalid),
            r.s_axi_rready.eq(self.values.ready),
            r.s_axi_awaddr.eq(self.addresses.payload),
            r.s_axi_awvalid.eq(self.addresses.valid),
            self.addresses.ready.eq(r.s_axi_awready),
            r.s_axi_wdata.eq(self.words.p.data),
            r.s_axi_wstrb.eq(self.words.p.strobes),
            r.s_axi_wvalid.eq(self.words.valid),
            self.words.ready.eq(r.s_axi_wready),
            self.results.payload.eq(r.s_axi_bresp),
            self.results.valid.eq(r.s_axi_bvalid),
            r.s_axi_bready.eq(self.results.ready),
        ]
        return m


class AxiWriting(wiring.Component):
    """An :class:`AxiBlockWriter`, whose bursts are streams, and answered in the next cycle."""

    def __init__(self, lanes, data_width):
        self.writer = AxiBlockWriter(lanes, data_width)
        super().__init__({"i": self.writer.signature.members["i"], **_bursts(data_width)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = writer = self.writer
        connect(m, flipped(self.i), writer.i)
        _answer_writes(m, writer, "", self.addresses, self.words)
        return m


class QueuedFetch(wiring.Component):
    """An :class:`OperandFetch` of two rows and lanes whose beats wait in a queue."""

    def __init__(self, external_cache=False):
        self.fetch = OperandFetch(2, 2, 1, 4, external_cache=external_cache)
        members = {n: m for n, m in self.fetch.signature.members.items() if n not in ("o", "full")}
        self.beat = self.fetch.o.p.shape()
        super().__init__({**members, "o": Out(stream.Signature(self.beat))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = self.fetch
        m.submodules.beats = beats = Queue(self.beat, 4, spare=2)
        for name, member in self.signature.members.items():
            if name == "o":
                continue
            inner, outer = getattr(fetch, name), getattr(self, name)
            if member.is_signature:
                connect(m, flipped(outer), inner)
            elif member.dimensions:
                m.d.comb += [a.eq(b) for a, b in zip(inner, outer, strict=True)]
            elif member.flow == In:
                m.d.comb += inner.eq(outer)
            else:
                m.d.comb += outer.eq(inner)
        m.d.comb += [
            beats.i.valid.eq(fetch.o.valid),
            beats.i.payload.eq(fetch.o.p),
            fetch.full.eq(beats.nearly_full),
        ]
        connect(m, beats.o, flipped(self.o))
        return m


class RetiringSequencer(wiring.Component):
    """A sequencer of two steps, whose operations end in the cycle after they left."""

    STREAMS = ("run", "load", "fetch", "operation", "scales", "weights", "row_scales")

    def __init__(self):
        steps = [{"route": "residual"}, {"route": "logits"}]
        load = Load(address=1, scale_address=1, words=1, planes=False, shift=0, argument=0)
        self.sequencer = Sequencer(Program(steps, (2, 3), (1, 2), (load,)), 1, 1, 1)
        super().__init__({n: self.sequencer.signature.members[n] for n in self.STREAMS})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = self.sequencer
        for name in self.STREAMS:
            connect(m, flipped(getattr(self, name)), getattr(sequencer, name))
        m.d.sync += sequencer.retired.eq(sequencer.operation.valid & sequencer.operation.ready)
        return m
