"""The host link's half that speaks: answers, generated tokens and the end of a run."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.protocol.messages import Kind
from celosia.rtl.host.frame import header
from celosia.rtl.host.host_commands import NUMBER, answer

__all__ = ["HostAnswers", "done", "finished", "result"]

result = data.StructLayout({"token": NUMBER, "cycles": unsigned(32)})

# A pass that is over: not sent to the host, but offered beside the link.
finished = data.StructLayout(
    {"position": unsigned(20), "group": unsigned(8), "cycles": unsigned(32)}
)

# The end of a run.
done = data.StructLayout({"reason": unsigned(8)})


class HostAnswers(wiring.Component):
    """Chooses what to send next and gives it byte by byte; frames never interleave.

    An answer goes before a token, a token before the end of the run. Answers and tokens are taken
    when their frame begins, the end of the run with the last byte of its payload. The header is
    offered 1 cycle after what it announces, the payload after the header, 1 byte per cycle.

    Parameters
    ----------
    info : celosia.protocol.messages.Info
    memory : bool
        Whether there is a memory that has a ``checksum``.
    states : int
        Values of states, if there are any.

    Members
    -------
    answer : In(stream of answer)
    result : In(stream of result)
        ``{token, cycles}``
    done : In(stream of done)
        ``{reason}``
    number, value : Out(unsigned(6)), In(unsigned(32))
        Of a counter of the run that has ended.
    busy : In(1)
    tokens : In(unsigned(20))
        Number of tokens that were taken in this run.
    checksum : In(unsigned(32)), with ``memory``
        For the answer CHECKSUM.
    state, count, position : In(signed(18)), In(unsigned(8)), In(unsigned(20)), with ``states``
        For the answer STATES: the value of ``number`` less 1, two cycles later or less; how many,
        with the answer; the position behind the states.
    frame : Out(stream of header)
    data : Out(stream of unsigned(8))
        The frame's payload.
    """

    def __init__(self, info, memory=False, states=0):
        self.info = info
        self.memory = memory
        self.states = states
        stated = {"state": In(signed(18)), "count": In(8), "position": In(NUMBER)}
        super().__init__(
            {
                "answer": In(stream.Signature(answer)),
                "result": In(stream.Signature(result)),
                "done": In(stream.Signature(done)),
                "number": Out(6),
                "value": In(32),
                "busy": In(1),
                "tokens": In(NUMBER),
                **({"checksum": In(unsigned(32))} if memory else {}),
                **(stated if states else {}),
                "frame": Out(stream.Signature(header)),
                "data": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        head = self.frame.p
        text = Signal(7 * 8)
        left = Signal(8)
        place = Signal(8)
        rom = self.info.payload()
        behind = Const(int.from_bytes(rom[4:], "little"), 8 * len(rom[4:]))
        later = {  # payload behind its first word
            Kind.INFO: behind.word_select(place[2:], 32),
            Kind.DONE: self.value,
        }
        length = {Kind.INFO: len(rom), Kind.DONE: 4 + 4 * self.info.n_counters}
        if self.states:
            wide = Signal(signed(32))
            m.d.comb += wide.eq(Mux(self.number == 0, self.states, self.state))
            later[Kind.STATES] = wide
            length[Kind.STATES] = 8 + (self.count << 2)
        m.d.comb += self.number.eq(place[2:])

        def begin(kind, *values):
            """Begin a frame whose payload begins with `values`."""
            size = length.get(kind, len(Cat(*values)) // 8)
            m.d.sync += [head.kind.eq(kind), head.length.eq(size), left.eq(size)]
            m.d.sync += [text.eq(Cat(*values)), place.eq(0)]
            m.next = "HEAD"

        following = Signal(32)  # the word behind this one, known before its first byte is sent
        with m.Switch(head.kind):
            for kind, word in later.items():
                with m.Case(kind):
                    m.d.sync += following.eq(word)

        with m.FSM():
            with m.State("CHOOSE"):
                with m.If(self.answer.valid):
                    m.d.comb += self.answer.ready.eq(1)
                    with m.Switch(self.answer.p.kind):
                        with m.Case(Kind.INFO):
                            begin(Kind.INFO, Const(int.from_bytes(rom[:4], "little"), 32))
                        with m.Case(Kind.STATUS):
                            begin(Kind.STATUS, _wide(self.busy, 8), _wide(self.tokens, 24))
                        with m.Case(Kind.ERROR):
                            begin(Kind.ERROR, self.answer.p.command, self.answer.p.code)
                        if self.memory:
                            with m.Case(Kind.CHECKSUM):
                                begin(Kind.CHECKSUM, self.checksum)
                        if self.states:
                            with m.Case(Kind.STATES):
                                begin(Kind.STATES, _wide(self.position, 32))
                        with m.Default():
                            begin(Kind.ACK, self.answer.p.command)
                with m.Elif(self.result.valid):
                    m.d.comb += self.result.ready.eq(1)
                    begin(Kind.TOKEN, _wide(self.result.p.token, 24), self.result.p.cycles)
                with m.Elif(self.done.valid):
                    begin(Kind.DONE, self.done.p.reason, _wide(self.tokens, 24))
            with m.State("HEAD"):
                m.d.comb += self.frame.valid.eq(1)
                with m.If(self.frame.ready):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [self.data.valid.eq(1), self.data.payload.eq(text[:8])]
                with m.If(self.data.ready):
                    m.d.sync += [text.eq(text[8:]), place.eq(place + 1), left.eq(left - 1)]
                    with m.If(place[:2] == 3), m.Switch(head.kind), m.Case(*later):
                        m.d.sync += text.eq(following)
                    with m.If(left == 1):
                        m.d.comb += self.done.ready.eq(head.kind == Kind.DONE)
                        m.next = "CHOOSE"
        return m


def _wide(value, width):
    """`value` with zeros up to `width` bits."""
    return Cat(value, Const(0, width - len(value)))
