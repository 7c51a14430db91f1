"""The compact machine's run: the prompt's tokens one by one, then each generated one."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.protocol.messages import Reason
from celosia.rtl.host.host_answers import done, finished, result
from celosia.rtl.host.host_commands import command, prompt

__all__ = ["CompactControl", "token_layout"]


def token_layout():
    """A token to be processed, its position, and whether logits are wanted."""
    return data.StructLayout({"token": unsigned(20), "position": unsigned(20), "logits": 1})


class CompactControl(wiring.Component):
    """Carries out runs from position 0 on.

    Parameters
    ----------
    max_seq_len, vocab_size : int

    Members
    -------
    prompt, command, result, done, abort
        The host link's.
    cycles : Out(unsigned(32))
        Of the run that has ended.
    busy : Out(1)
    temperature : Out(unsigned(12))
        Of the run, in 1/256.
    seed : Out(stream of unsigned(32)), always ready
        As a run begins.
    token : Out(stream of token_layout)
        Taken when the token has been processed.
    sampled : In(unsigned(20))
        The next token, in that cycle.
    passes : Out(stream of ``position``, ``group``, ``cycles``), always ready
        Each processed token and its cycles.
    """

    def __init__(self, max_seq_len, vocab_size):
        self.max_seq_len = max_seq_len
        self.vocab_size = vocab_size
        super().__init__(
            {
                "prompt": In(stream.Signature(prompt, always_ready=True)),
                "command": In(stream.Signature(command)),
                "result": Out(stream.Signature(result)),
                "done": Out(stream.Signature(done)),
                "cycles": Out(32),
                "abort": In(1),
                "busy": Out(1),
                "temperature": Out(12),
                "seed": Out(stream.Signature(32, always_ready=True)),
                "token": Out(stream.Signature(token_layout())),
                "sampled": In(20),
                "passes": Out(stream.Signature(finished, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        place = range(self.max_seq_len + 1)
        token_width = range(self.vocab_size + 1)
        m.submodules.tokens = tokens = memory.Memory(
            shape=Signal(range(self.vocab_size)).shape(), depth=self.max_seq_len, init=[]
        )
        write, read = tokens.write_port(), tokens.read_port()
        position, length, count, made = (
            Signal(place, name=name) for name in ("position", "length", "count", "made")
        )
        newest, stop = Signal(token_width), Signal(token_width)
        generated = Signal()
        spent, before = Signal(32), Signal(32)  # cycles of the run, and when its last token ended
        at_token = Signal(32)
        reason = Signal(2)
        m.d.comb += [
            write.en.eq(self.prompt.valid),
            write.addr.eq(self.prompt.p.address),
            write.data.eq(self.prompt.p.token),
            read.addr.eq(position),
            self.token.p.token.eq(Mux(generated, newest, read.data)),
            self.token.p.position.eq(position),
            self.token.p.logits.eq(generated | (position == length - 1)),
            self.result.p.token.eq(newest),
            self.result.p.cycles.eq(at_token),
            self.done.p.reason.eq(reason),
            self.cycles.eq(at_token),
            self.passes.p.position.eq(position),
            self.passes.p.cycles.eq(spent - before),
            self.seed.payload.eq(self.command.p.seed),
        ]
        m.d.sync += spent.eq(spent + 1)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += [position.eq(0), made.eq(0), generated.eq(0), spent.eq(0), before.eq(0)]
                with m.If(self.command.valid):
                    m.d.comb += self.seed.valid.eq(1)
                    m.d.sync += [
                        self.temperature.eq(self.command.p.temperature),
                        length.eq(self.command.p.length),
                        count.eq(self.command.p.count),
                        stop.eq(self.command.p.stop),
                    ]
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "WORK"
            with m.State("WORK"):
                m.d.comb += self.token.valid.eq(1)
                with m.If(self.token.ready):
                    m.d.comb += self.passes.valid.eq(1)
                    m.d.sync += [
                        position.eq(position + 1),
                        newest.eq(self.sampled),
                        at_token.eq(spent + 1),
                        before.eq(spent + 1),
                    ]
                    m.next = "LOOK"
                    with m.If(self.token.p.logits):
                        m.d.sync += [generated.eq(1), made.eq(made + 1)]
                        m.next = "RESULT"
                    with m.Elif(self.abort):
                        m.d.sync += reason.eq(Reason.ABORTED)
                        m.next = "DONE"
            with m.State("RESULT"):
                m.d.comb += self.result.valid.eq(1)
                with m.If(self.result.ready):
                    m.next = "LOOK"
                    with m.If(self.abort):
                        m.d.sync += reason.eq(Reason.ABORTED)
                        m.next = "DONE"
                    with m.Elif(newest == stop):
                        m.d.sync += reason.eq(Reason.STOP)
                        m.next = "DONE"
                    with m.Elif(made == count):
                        m.d.sync += reason.eq(Reason.COUNT)
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m
