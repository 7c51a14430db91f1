"""The controller: closes the autoregressive loop, from a host's command to its last token."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.protocol.messages import Reason
from celosia.rtl.host.host_answers import done, finished, result
from celosia.rtl.host.host_commands import command, prompt
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.words import token_width

__all__ = ["CAUSES", "COUNTERS", "SATURATED", "Cause", "Controller"]


class Cause(enum.Enum, shape=4):
    """What a cycle was spent on. Every cycle of a run has exactly one cause."""

    LINEAR = 0  # a beat of the tape
    SCORES = 1  # a beat of keys
    VALUES = 2  # a beat of values
    EMBEDDING = 3  # a word of an embedding
    ACTIVATIONS = 4  # waiting for the vector that the next operation reads
    ORDER = 5  # waiting for a cache or a buffer to be written
    TAPE = 6  # waiting for the tape
    RESULTS = 7  # waiting for room behind the fabric
    DISPATCH = 8  # steps on their way to the fetcher
    DRAIN = 9  # the last results of a pass on their way
    CONTROL = 10  # between passes
    CACHE = 11  # waiting for a cache in external memory


CAUSES = tuple(cause.name.lower() for cause in Cause)
SATURATED = tuple(
    f"saturated_{name}"
    for name in ("residual", "activations", "values", "heads", "scores", "gates", "scaled")
)
COUNTERS = ("cycles", *CAUSES, *SATURATED)


class Controller(wiring.Component):
    """Runs a command: passes over the prompt in groups, then one pass for each generated token.

    The pass over the prompt's last group, and that over each generated token but the last, ends
    in the sampler. A run ends after ``count`` tokens, after the token ``stop``, or after the
    current pass when ``abort`` is high.

    From the end of a pass to the first load of the next one 3 cycles, from load to load 2.

    Parameters
    ----------
    max_seq_len : int, 1 to 2**20
        Places in the token memory.
    tokens : int, 1 to 64
        Tokens in a group.

    Members
    -------
    prompt, command, result, done, abort, busy
        The host link's, see ``HostLink``. ``cycles`` of a result are
        those of the run up to its token. Counters are in the order of ``COUNTERS``.
    run, load : Out(stream)
        Passes and their tokens, for the sequencer.
    idle : In(1)
        The sequencer's.
        It falls a cycle after a pass was taken, and rises when the pass is over.
    sampled : In(stream of unsigned(20))
        One token for each pass with logits, taken while ``idle`` is high.
    seed : Out(stream of unsigned(32))
    temperature : Out(unsigned(12))
    fault : In(1)
        External memory has answered with an error.
    faulty : Out(1)
        It has, since the run began.
    cause : In(Cause)
        What this cycle is spent on, counted from the run's first pass to its last result.
    saturated : In(unsigned(7), 7 times)
        Values that reached the limits of their formats, in the order of ``SATURATED``; counted
        like the causes.
    passes : Out(stream of ``position``, ``group``, ``cycles``), always ready
        Each finished pass and the cycles since the one before it, or since the run began.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, max_seq_len, tokens):
        check_range("max_seq_len", max_seq_len, 1, 1 << 20)
        check_range("tokens", tokens, 1, 64)
        self.max_seq_len = max_seq_len
        self.tokens = tokens
        place = unsigned(token_width(tokens))
        run = data.StructLayout({"position": unsigned(20), "group": place, "logits": 1})
        super().__init__(
            {
                "prompt": In(stream.Signature(prompt, always_ready=True)),
                "command": In(stream.Signature(command)),
                "result": Out(stream.Signature(result)),
                "done": Out(stream.Signature(done(len(COUNTERS)))),
                "abort": In(1),
                "busy": Out(1),
                "run": Out(stream.Signature(run)),
                "load": Out(stream.Signature(unsigned(20))),
                "idle": In(1),
                "sampled": In(stream.Signature(unsigned(20))),
                "seed": Out(stream.Signature(unsigned(32))),
                "temperature": Out(12),
                "fault": In(1),
                "faulty": Out(1),
                "cause": In(Cause),
                "saturated": In(7).array(len(SATURATED)),
                "passes": Out(stream.Signature(finished, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.tokens = tokens = memory.Memory(
            shape=unsigned(20), depth=self.max_seq_len, init=[]
        )
        write, read = tokens.write_port(), tokens.read_port()
        m.d.comb += [
            write.en.eq(self.prompt.valid),
            write.addr.eq(self.prompt.p.address),
            write.data.eq(self.prompt.p.token),
        ]

        order = Signal(command)
        position = Signal(20)
        left = Signal(20)  # tokens of the prompt not yet in a pass
        made = Signal(20)
        group = Signal(token_width(self.tokens))
        place = Signal(token_width(self.tokens))
        last_group = Signal()
        token = Signal(20)  # the newest generated one
        generated = Signal()  # the pass's token is that one
        fetched = Signal()
        cycles = Signal(32)  # since the last pass ended
        spent = Signal(32)  # cycles of the run when it ended
        counters = Signal(data.ArrayLayout(unsigned(32), len(COUNTERS)))
        reason = Signal(8)
        counting = Signal()
        with m.If(self.fault):
            m.d.sync += self.faulty.eq(1)
        m.d.comb += [
            group.eq(Mux(left > self.tokens, self.tokens, left) - 1),
            last_group.eq(left <= self.tokens),
            self.run.p.position.eq(position),
            self.run.p.group.eq(Mux(generated, 0, group)),
            self.run.p.logits.eq(generated | last_group),
            read.addr.eq(position + place),
            self.load.payload.eq(Mux(generated, token, read.data)),
            self.seed.payload.eq(order.seed),
            self.temperature.eq(order.temperature),
            self.result.p.token.eq(token),
            self.result.p.cycles.eq(spent),
            self.done.p.reason.eq(reason),
            self.done.p.counters.eq(counters),
            self.passes.p.position.eq(position),
            self.passes.p.group.eq(self.run.p.group),
            self.passes.p.cycles.eq(cycles + 1),
        ]
        with m.If(counting):
            for n, more in enumerate(self.saturated):
                counter = counters[1 + len(CAUSES) + n]
                m.d.sync += counter.eq(counter + more)
            m.d.sync += [cycles.eq(cycles + 1), counters[0].eq(counters[0] + 1)]
            for number, cause in enumerate(Cause, 1):
                with m.If(self.cause == cause):
                    m.d.sync += counters[number].eq(counters[number] + 1)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += [
                    order.eq(self.command.p),
                    position.eq(self.command.p.start),
                    left.eq(self.command.p.length),
                ]
                with m.If(self.command.valid):
                    m.next = "SEED"
            with m.State("SEED"):
                m.d.comb += self.seed.valid.eq(1)
                m.d.sync += [
                    made.eq(0),
                    generated.eq(0),
                    self.faulty.eq(0),
                    counters.eq(0),
                    cycles.eq(0),
                ]
                with m.If(self.seed.ready):
                    m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += [self.run.valid.eq(1), counting.eq(1)]
                m.d.sync += [place.eq(0), fetched.eq(0)]
                with m.If(self.run.ready):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += [self.load.valid.eq(generated | fetched), counting.eq(1)]
                m.d.sync += fetched.eq(1)
                with m.If(self.load.valid & self.load.ready):
                    m.d.sync += [place.eq(place + 1), fetched.eq(0)]
                    with m.If(place == self.run.p.group):
                        m.next = "WORK"
            with m.State("WORK"):
                logits = self.run.p.logits
                m.d.comb += [counting.eq(1), self.sampled.ready.eq(self.idle & logits)]
                with m.If(self.idle & (self.sampled.valid | ~logits)):
                    m.d.comb += self.passes.valid.eq(1)
                    m.d.sync += [
                        cycles.eq(0),
                        spent.eq(counters[0] + 1),
                        position.eq(position + self.run.p.group + 1),
                        left.eq(Mux(generated, 0, left - group - 1)),
                        token.eq(self.sampled.payload),
                    ]
                    with m.If(self.faulty):
                        m.d.sync += reason.eq(Reason.FAULT)
                        m.next = "DONE"
                    with m.Elif(logits):
                        m.d.sync += [generated.eq(1), made.eq(made + 1)]
                        m.next = "RESULT"
                    with m.Else():
                        m.next = "PASS"
                        with m.If(self.abort):
                            m.d.sync += reason.eq(Reason.ABORTED)
                            m.next = "DONE"
            with m.State("RESULT"):
                m.d.comb += [self.result.valid.eq(1), counting.eq(1)]
                with m.If(self.result.ready):
                    m.next = "PASS"
                    with m.If(self.abort):
                        m.d.sync += reason.eq(Reason.ABORTED)
                        m.next = "DONE"
                    with m.Elif(token == order.stop):
                        m.d.sync += reason.eq(Reason.STOP)
                        m.next = "DONE"
                    with m.Elif(made == order.count):
                        m.d.sync += reason.eq(Reason.COUNT)
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m
