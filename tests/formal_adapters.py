"""Units with a bus or a machine around them, as units of streams alone."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.axi_port import ADDRESS_WIDTH
from celosia.rtl.axi_write import AxiBlockWriter
from celosia.rtl.operation import Kind
from celosia.rtl.sequencer import Program, Sequencer

__all__ = ["AxiReading", "AxiWriting", "RetiringSequencer"]

REQUEST = data.StructLayout({"address": ADDRESS_WIDTH, "length": 8})


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
        request, awaited = self.requests, Signal(24)
        m.d.comb += [
            request.valid.eq(reader.arvalid),
            request.p.address.eq(reader.araddr),
            request.p.length.eq(reader.arlen),
            reader.arready.eq(request.ready),
            reader.rvalid.eq(self.answers & (awaited != 0)),
            reader.rdata.eq(self.data),
        ]
        asked = Mux(request.valid & request.ready, reader.arlen + 1, 0)
        m.d.sync += awaited.eq(awaited + asked - reader.rvalid)
        return m


class AxiWriting(wiring.Component):
    """An :class:`AxiBlockWriter`, whose bursts are streams, and answered in the next cycle."""

    def __init__(self, lanes, data_width):
        self.writer = AxiBlockWriter(lanes, data_width)
        words = {"data": data_width, "strobes": data_width // 8, "last": 1}
        super().__init__(
            {
                "i": self.writer.signature.members["i"],
                "addresses": Out(stream.Signature(REQUEST)),
                "words": Out(stream.Signature(data.StructLayout(words))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = writer = self.writer
        connect(m, flipped(self.i), writer.i)
        addresses, words = Signal(4), Signal(4)  # bursts not yet answered
        address, word, answered = self.addresses, self.words, Signal()
        m.d.comb += [
            address.valid.eq(writer.awvalid),
            address.p.address.eq(writer.awaddr),
            address.p.length.eq(writer.awlen),
            writer.awready.eq(address.ready),
            word.valid.eq(writer.wvalid),
            word.payload.eq(Cat(writer.wdata, writer.wstrb, writer.wlast)),
            writer.wready.eq(word.ready),
            answered.eq((addresses != 0) & (words != 0)),
            writer.bvalid.eq(answered),
        ]
        m.d.sync += [
            addresses.eq(addresses + (address.valid & address.ready) - answered),
            words.eq(words + (word.valid & word.ready & word.p.last) - answered),
        ]
        return m


class RetiringSequencer(wiring.Component):
    """A sequencer of two steps, whose operations end in the cycle after they left."""

    STREAMS = ("run", "load", "fetch", "operation", "scales", "weights", "row_scales")

    def __init__(self):
        steps = [{"kind": Kind.ADD}, {"kind": Kind.LOGITS}]
        self.sequencer = Sequencer(Program(steps, (2, 3), (1, 2), 1, 1, 1, False, 0, 0), 1, 1, 1)
        super().__init__({n: self.sequencer.signature.members[n] for n in self.STREAMS})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = self.sequencer
        for name in self.STREAMS:
            connect(m, flipped(getattr(self, name)), getattr(sequencer, name))
        m.d.sync += sequencer.retired.eq(sequencer.operation.valid & sequencer.operation.ready)
        return m
