"""The controller: closes the autoregressive loop, from a host's command to its last token."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.protocol.messages import Reason
from celosia.rtl.host.host_answers import done, finished, result
from celosia.rtl.host.host_commands import command, prompt
from celosia.rtl.machine.run_counters import SATURATED, Cause, RunCounters
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.words import token_width

__all__ = ["Controller"]


class _Registers:
    """What a run is at."""

    def __init__(self, tokens):
        self.order = Signal(command)
        self.position = Signal(20)
        self.left = Signal(20)  # tokens of the prompt not yet in a pass
        self.made = Signal(20)
        self.group = Signal(token_width(tokens))
        self.place = Signal(token_width(tokens))
        self.last_group = Signal()
        self.token = Signal(20)  # the newest generated one
        self.generated = Signal()  # the pass's token is that one
        self.fetched = Signal()
        self.cycles = Signal(32)  # since the last pass ended
        self.spent = Signal(32)  # cycles of the run when it ended
        self.reason = Signal(8)
        self.counting = Signal()


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
    readers : int, 1 to 2
        Of the counters.
    saturated_width : int, 1 to 7
        Bits of the numbers of values that saturate in a cycle.

    Members
    -------
    prompt, command, result, done, abort, busy
        The host link's, see ``HostLink``. ``cycles`` of a result are
        those of the run up to its token.
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
    saturated : In(unsigned(saturated_width), 7 times)
        Counted like the causes.
    number, value
        The counters of the run, see :class:`RunCounters`.
    passes : Out(stream of ``position``, ``group``, ``cycles``), always ready
        Each finished pass and the cycles since the one before it, or since the run began.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, max_seq_len, tokens, readers=1, saturated_width=7):
        check_range("max_seq_len", max_seq_len, 1, 1 << 20)
        check_range("tokens", tokens, 1, 64)
        self.max_seq_len = max_seq_len
        self.tokens = tokens
        self.counters = RunCounters(readers, saturated_width)
        place = unsigned(token_width(tokens))
        run = data.StructLayout({"position": unsigned(20), "group": place, "logits": 1})
        super().__init__(
            {
                "prompt": In(stream.Signature(prompt, always_ready=True)),
                "command": In(stream.Signature(command)),
                "result": Out(stream.Signature(result)),
                "done": Out(stream.Signature(done)),
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
                "saturated": In(saturated_width).array(len(SATURATED)),
                "number": In(6).array(readers),
                "value": Out(32).array(readers),
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

        at = _Registers(self.tokens)
        with m.If(self.fault):
            m.d.sync += self.faulty.eq(1)
        m.d.comb += [
            at.group.eq(Mux(at.left > self.tokens, self.tokens, at.left) - 1),
            at.last_group.eq(at.left <= self.tokens),
            self.run.p.position.eq(at.position),
            self.run.p.group.eq(Mux(at.generated, 0, at.group)),
            self.run.p.logits.eq(at.generated | at.last_group),
            read.addr.eq(at.position + at.place),
            self.load.payload.eq(Mux(at.generated, at.token, read.data)),
            self.seed.payload.eq(at.order.seed),
            self.temperature.eq(at.order.temperature),
            self.result.p.token.eq(at.token),
            self.result.p.cycles.eq(at.spent),
            self.done.p.reason.eq(at.reason),
            self.passes.p.position.eq(at.position),
            self.passes.p.group.eq(self.run.p.group),
            self.passes.p.cycles.eq(at.cycles + 1),
        ]
        self._count(m, at)
        with m.FSM() as fsm:
            self._begin(m, at)
            self._load(m, at)
            self._work(m, at)
            self._end(m, at)
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m

    def _count(self, m, at):
        """The cycles of the run, by their causes, and what saturated."""
        m.submodules.counters = counters = self.counters
        m.d.comb += [
            counters.counting.eq(at.counting),
            counters.cause.eq(self.cause),
            *(a.eq(b) for a, b in zip(counters.saturated, self.saturated, strict=True)),
            *(a.eq(b) for a, b in zip(counters.number, self.number, strict=True)),
            *(a.eq(b) for a, b in zip(self.value, counters.value, strict=True)),
        ]
        with m.If(at.counting):
            m.d.sync += at.cycles.eq(at.cycles + 1)

    def _begin(self, m, at):
        """A command comes; the sampler gets its seed."""
        with m.State("IDLE"):
            m.d.comb += self.command.ready.eq(1)
            m.d.sync += [
                at.order.eq(self.command.p),
                at.position.eq(self.command.p.start),
                at.left.eq(self.command.p.length),
            ]
            with m.If(self.command.valid):
                m.next = "SEED"
        with m.State("SEED"):
            m.d.comb += [self.seed.valid.eq(1), self.counters.clear.eq(1)]
            m.d.sync += [
                at.made.eq(0),
                at.generated.eq(0),
                self.faulty.eq(0),
                at.cycles.eq(0),
            ]
            with m.If(self.seed.ready):
                m.next = "PASS"

    def _load(self, m, at):
        """A pass begins; its tokens go to the sequencer."""
        with m.State("PASS"):
            m.d.comb += [self.run.valid.eq(1), at.counting.eq(1)]
            m.d.sync += [at.place.eq(0), at.fetched.eq(0)]
            with m.If(self.run.ready):
                m.next = "LOAD"
        with m.State("LOAD"):
            m.d.comb += [self.load.valid.eq(at.generated | at.fetched), at.counting.eq(1)]
            m.d.sync += at.fetched.eq(1)
            with m.If(self.load.valid & self.load.ready):
                m.d.sync += [at.place.eq(at.place + 1), at.fetched.eq(0)]
                with m.If(at.place == self.run.p.group):
                    m.next = "WORK"

    def _work(self, m, at):
        """A pass ends: in a token where it has logits."""
        with m.State("WORK"):
            logits = self.run.p.logits
            m.d.comb += [at.counting.eq(1), self.sampled.ready.eq(self.idle & logits)]
            with m.If(self.idle & (self.sampled.valid | ~logits)):
                m.d.comb += self.passes.valid.eq(1)
                m.d.sync += [
                    at.cycles.eq(0),
                    at.spent.eq(self.counters.cycles + 1),
                    at.position.eq(at.position + self.run.p.group + 1),
                    at.left.eq(Mux(at.generated, 0, at.left - at.group - 1)),
                    at.token.eq(self.sampled.payload),
                ]
                with m.If(self.faulty):
                    m.d.sync += at.reason.eq(Reason.FAULT)
                    m.next = "DONE"
                with m.Elif(logits):
                    m.d.sync += [at.generated.eq(1), at.made.eq(at.made + 1)]
                    m.next = "RESULT"
                with m.Else():
                    m.next = "PASS"
                    with m.If(self.abort):
                        m.d.sync += at.reason.eq(Reason.ABORTED)
                        m.next = "DONE"

    def _end(self, m, at):
        """A token goes to the host, which is told when it was the last one, and why."""
        with m.State("RESULT"):
            m.d.comb += [self.result.valid.eq(1), at.counting.eq(1)]
            with m.If(self.result.ready):
                m.next = "PASS"
                with m.If(self.abort):
                    m.d.sync += at.reason.eq(Reason.ABORTED)
                    m.next = "DONE"
                with m.Elif(at.token == at.order.stop):
                    m.d.sync += at.reason.eq(Reason.STOP)
                    m.next = "DONE"
                with m.Elif(at.made == at.order.count):
                    m.d.sync += at.reason.eq(Reason.COUNT)
                    m.next = "DONE"
        with m.State("DONE"):
            m.d.comb += self.done.valid.eq(1)
            with m.If(self.done.ready):
                m.next = "IDLE"
