"""A machine that repeats its prompt: the smallest thing to put behind a host link."""

from amaranth.hdl import Array, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.protocol.messages import Info, Reason
from celosia.rtl.host.host_link import HostLink

__all__ = ["INFO", "EchoMachine"]

INFO = Info(300, 200, 8, 4, 3, 25_000_000, b"echo0123", "echo")


class EchoMachine(wiring.Component):
    """Generates the tokens of the prompt, again and again, one every `pace` cycles or more.

    Its counters are the tokens given, the temperature and the seed.
    """

    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))

    def __init__(self, pace=4, timeout=50):
        self.pace = pace
        self.timeout = timeout
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = HostLink(INFO, self.timeout)
        m.submodules.memory = memory = Memory(shape=unsigned(20), depth=256, init=[])
        read, write = memory.read_port(), memory.write_port()
        wiring.connect(m, wiring.flipped(self.rx), link.rx)
        wiring.connect(m, link.tx, wiring.flipped(self.tx))
        run = Signal.like(link.command.payload)
        place = Signal(20)
        given = Signal(20)
        cycles = Signal(32)
        wait = Signal(range(self.pace + 1))
        reason = Signal(Reason)
        m.d.sync += cycles.eq(cycles + 1)
        m.d.comb += [
            write.addr.eq(link.prompt.p.address),
            write.data.eq(link.prompt.p.token),
            write.en.eq(link.prompt.valid),
            link.prompt.ready.eq(1),
            read.addr.eq(run.start + place),
            link.result.p.token.eq(read.data),
            link.done.p.reason.eq(reason),
            link.value.eq(Array((given, run.temperature, run.seed, 0))[link.number[:2]]),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += link.command.ready.eq(1)
                m.d.sync += [given.eq(0), place.eq(0), wait.eq(0), run.eq(link.command.payload)]
                with m.If(link.command.valid):
                    m.next = "THINK"
            with m.State("THINK"):
                m.d.sync += [wait.eq(wait + 1), link.result.p.cycles.eq(cycles)]
                with m.If(link.abort):
                    m.d.sync += reason.eq(Reason.ABORTED)
                    m.next = "DONE"
                with m.Elif(wait == self.pace):
                    m.next = "SPEAK"
            with m.State("SPEAK"):
                m.d.comb += link.result.valid.eq(1)
                with m.If(link.result.ready):
                    m.d.sync += [given.eq(given + 1), place.eq(place + 1), wait.eq(0)]
                    m.next = "THINK"
                    with m.If(place == run.length - 1):
                        m.d.sync += place.eq(0)
                    with m.If(given == run.count - 1):
                        m.d.sync += reason.eq(Reason.COUNT)
                        m.next = "DONE"
                    with m.If(read.data == run.stop):
                        m.d.sync += reason.eq(Reason.STOP)
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += link.done.valid.eq(1)
                with m.If(link.done.ready):
                    m.next = "IDLE"
        return m
