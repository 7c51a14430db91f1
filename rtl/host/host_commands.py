"""The host link's half that takes commands."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.protocol.messages import PROMPT_TOKENS, Check, Kind, Run
from celosia.protocol.refusals import TEMPERATURE_LIMIT, Code
from celosia.rtl.host.frame import Fault, verdict
from celosia.rtl.host.host_memory import MemoryPayload, memory_port
from celosia.rtl.host.host_states import StatePayload, written

__all__ = ["CommandPayload", "HostCommands", "answer", "command", "prompt"]

NUMBER = unsigned(20)

answer = data.StructLayout({"kind": unsigned(8), "command": unsigned(8), "code": unsigned(8)})
prompt = data.StructLayout({"address": NUMBER, "token": NUMBER})
command = data.StructLayout(
    {
        "start": NUMBER,
        "length": NUMBER,
        "count": NUMBER,
        "stop": NUMBER,
        "temperature": unsigned(12),
        "seed": unsigned(32),
    }
)
run = data.StructLayout(
    {name: 8 * size for name, size in zip(command.members, Run.sizes, strict=True)}
)


class CommandPayload(wiring.Component):
    """Reads a payload byte by byte, both as a prompt's and as a run's, and keeps its tokens.

    The results hold 2 cycles after the last byte, until ``clear``. A token is read 1 cycle after
    ``fetch``.

    Parameters
    ----------
    info : celosia.protocol.messages.Info
        For ``vocab_size`` and ``max_seq_len``.

    Members
    -------
    data : In(stream of unsigned(8), always ready)
    clear : In(1)
        Begin a new payload.
    uneven : Out(1)
        The length is no multiple of 3.
    groups : Out(7)
        Whole groups of 3 bytes: a prompt's address and tokens.
    run : Out(run)
        The last 18 bytes as the fields of a run.
    address : Out(unsigned(20))
        A prompt's address.
    prompt_too_long, prompt_unfit : Out(1)
        A prompt ends beyond ``max_seq_len``, or a token is no token of the vocabulary.
    run_too_long, run_unfit : Out(1)
        A run ends beyond ``max_seq_len``, or the stop token is beyond ``vocab_size``.
    fetch : In(1)
        Read the prompt's next token.
    token : Out(unsigned(20))
    fetched : Out(1)
        ``token`` is the last one.
    """

    data: In(stream.Signature(8, always_ready=True))
    clear: In(1)
    uneven: Out(1)
    groups: Out(range(PROMPT_TOKENS + 2))
    run: Out(run)
    address: Out(NUMBER)
    prompt_too_long: Out(1)
    prompt_unfit: Out(1)
    run_too_long: Out(1)
    run_unfit: Out(1)
    fetch: In(1)
    token: Out(NUMBER)
    fetched: Out(1)

    def __init__(self, info):
        self.info = info
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.tokens = tokens = Memory(shape=NUMBER, depth=PROMPT_TOKENS + 1, init=[])
        read, write = tokens.read_port(), tokens.write_port()
        text = self.run.as_value()
        group = text[-24:]
        complete = Signal()
        phase = Signal(range(3))
        prompt_end = Signal(25)
        run_end = Signal(26)
        next_token = Signal.like(self.groups, init=1)
        m.d.comb += [
            self.uneven.eq(phase != 0),
            self.prompt_too_long.eq(prompt_end > self.info.max_seq_len),
            self.run_too_long.eq(run_end > self.info.max_seq_len + 1),
            write.en.eq(complete),
            write.addr.eq(self.groups),
            write.data.eq(group),
            read.en.eq(self.fetch),
            read.addr.eq(next_token),
            self.token.eq(read.data),
            self.fetched.eq(next_token == self.groups),
        ]
        m.d.sync += complete.eq(self.data.valid & (phase == 2))
        with m.If(self.data.valid):
            m.d.sync += text.eq(Cat(text[8:], self.data.payload))
            m.d.sync += phase.eq(phase + 1)
            with m.If(phase == 2):
                m.d.sync += phase.eq(0)
        with m.If(complete):
            m.d.sync += self.groups.eq(self.groups + 1)
            with m.If(self.groups == 0):
                m.d.sync += [self.address.eq(group), prompt_end.eq(group), run_end.eq(group)]
            with m.Else():
                m.d.sync += prompt_end.eq(prompt_end + 1)
                with m.If(group >= self.info.vocab_size):
                    m.d.sync += self.prompt_unfit.eq(1)
            with m.If((self.groups == 1) | (self.groups == 2)):
                m.d.sync += run_end.eq(run_end + group)
            with m.If((self.groups == 3) & (group > self.info.vocab_size)):
                m.d.sync += self.run_unfit.eq(1)
        with m.If(self.fetch):
            m.d.sync += next_token.eq(next_token + 1)
        with m.If(self.clear):
            m.d.sync += [self.groups.eq(0), phase.eq(0), next_token.eq(1)]
            m.d.sync += [self.prompt_unfit.eq(0), self.run_unfit.eq(0)]
        return m


class HostCommands(wiring.Component):
    """Judges received frames, carries out the good commands and answers each frame once.

    Bit-exact with :func:`celosia.protocol.refusals.refusal`. Nothing of a frame reaches the machine
    before the whole frame is known to be right.

    From the verdict to the answer 2 cycles, for a prompt 2 more per token, for a run as long as
    the machine takes to accept the command.

    Parameters
    ----------
    info : celosia.protocol.messages.Info
        For ``vocab_size`` and ``max_seq_len``.
    memory : int, even
        Bytes of the external memory that the host loads; 0 where there is none.
    plain, greedy : bool
        Refuse runs that begin behind position 0; that have a temperature.
    rings : bool
        Refuse runs that begin behind position 0 and before ``least_start``.
    states : int, 0 to 2**20
        Values of states, if there are any; then refuse runs that begin elsewhere than at 0 or
        ``least_start``. Only with ``rings``.

    Members
    -------
    data : In(stream of unsigned(8), always ready)
        Payload bytes of the frame that is being received.
    frame : In(stream of verdict)
        The frame's end; taken together with its answer.
    answer : Out(stream of answer)
        ``{kind, command, code}``: the kind of the answer, the kind of the frame answered, and for
        ERROR the reason (:class:`celosia.protocol.refusals.Code`).
    prompt : Out(stream of prompt)
        ``{address, token}``
    command : Out(stream of command)
        ``{start, length, count, stop, temperature, seed}``
    busy : In(1)
        Refuse prompts and runs.
    abort : Out(1)
        1 for a cycle when the host asks to end the run.
    least_start : In(unsigned(20)), where there are rings
    memory : Out(memory_port), where there is such a memory
    write : Out(stream of written, always ready), where there are states
    resume : Out(stream of unsigned(20), always ready), likewise
        The position behind the states, 0 where they are nobody's.
    count : Out(unsigned(8)), likewise
        Values that the answer STATES brings, with that answer.
    """

    def __init__(self, info, memory=0, plain=False, greedy=False, rings=False, states=0):
        self.rings = rings
        self.states = states
        self.info = info
        self.memory_size = memory
        self.plain = plain
        self.greedy = greedy
        super().__init__(
            {
                "data": In(stream.Signature(8, always_ready=True)),
                "frame": In(stream.Signature(verdict)),
                "answer": Out(stream.Signature(answer)),
                "prompt": Out(stream.Signature(prompt)),
                "command": Out(stream.Signature(command)),
                "busy": In(1),
                "abort": Out(1),
                **({"least_start": In(NUMBER)} if rings else {}),
                **({"memory": Out(memory_port())} if memory else {}),
                **(self._state_members() if states else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.payload = payload = CommandPayload(self.info)
        memory = self._memory(m) if self.memory_size else None
        states = self._states(m, payload) if self.states else None
        kind = self.frame.p.kind
        code = Signal(8)
        position = Signal(NUMBER)
        m.d.comb += [
            payload.data.payload.eq(self.data.payload),
            payload.data.valid.eq(self.data.valid),
            payload.clear.eq(self.frame.valid & self.frame.ready),
            self.prompt.p.address.eq(position),
            self.prompt.p.token.eq(payload.token),
            self.answer.p.kind.eq(Kind.ACK),
            self.answer.p.command.eq(kind),
            self.answer.p.code.eq(code),
        ]
        m.d.comb += [self.command.p[name].eq(payload.run[name]) for name in command.members]
        answers = {Kind.ASK_INFO: Kind.INFO, Kind.ASK_STATUS: Kind.STATUS}
        answers |= {Kind.CHECK: Kind.CHECKSUM} if memory else {}
        answers |= {Kind.SAVE: Kind.STATES} if states else {}
        with m.If(code != 0):
            m.d.comb += self.answer.p.kind.eq(Kind.ERROR)
        for command_kind, answer_kind in answers.items():
            with m.Elif(kind == command_kind):
                m.d.comb += self.answer.p.kind.eq(answer_kind)

        with m.FSM():
            with m.State("JUDGE"):
                m.d.sync += position.eq(payload.address)
                self._judge(m, code, payload, memory, states)
                with m.If(self.frame.valid):
                    m.next = "ACT"
            with m.State("ACT"):
                m.next = "ANSWER"
                with m.If(code == 0), m.Switch(kind):
                    with m.Case(Kind.PROMPT):
                        m.next = "FETCH"
                    with m.Case(Kind.RUN):
                        m.next = "RUN"
                    with m.Case(Kind.ABORT):
                        m.d.comb += self.abort.eq(1)
                    if memory:
                        with m.Case(Kind.LOAD, Kind.CHECK):
                            m.next = "MEMORY"
                    if states:
                        self._act(m, states)
            with m.State("FETCH"):
                m.d.comb += payload.fetch.eq(1)
                m.next = "WRITE"
            with m.State("WRITE"), m.If(self._offer(m, states)):
                m.d.sync += position.eq(position + 1)
                m.next = "FETCH"
                with m.If(payload.fetched):
                    m.next = "ANSWER"
            with m.State("RUN"):
                m.d.comb += self.command.valid.eq(1)
                with m.If(self.command.ready):
                    m.next = "ANSWER"
            if memory:
                with m.State("MEMORY"):
                    m.d.comb += memory.go_load.eq(kind == Kind.LOAD)
                    m.d.comb += memory.go_check.eq(kind == Kind.CHECK)
                    with m.If(memory.done):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [self.answer.valid.eq(1), self.frame.ready.eq(self.answer.ready)]
                with m.If(self.answer.ready):
                    m.next = "JUDGE"
        return m

    def _memory(self, m):
        """What carries out loads and checks."""
        m.submodules.memory_payload = payload = MemoryPayload(self.memory_size)
        m.d.comb += [
            payload.data.payload.eq(self.data.payload),
            payload.data.valid.eq(self.data.valid),
            payload.clear.eq(self.frame.valid & self.frame.ready),
        ]
        connect(m, payload.write, flipped(self.memory.write))
        connect(m, payload.check, flipped(self.memory.check))
        connect(m, flipped(self.memory.checksum), payload.checksum)
        return payload

    def _state_members(self):
        return {
            "write": Out(stream.Signature(written, always_ready=True)),
            "resume": Out(stream.Signature(NUMBER, always_ready=True)),
            "count": Out(8),
        }

    def _states(self, m, payload):
        """What judges commands about states, whose values ``payload`` keeps."""
        m.submodules.state_payload = states = StatePayload(self.states, self.info.model_hash)
        address, value = self.prompt.p.address, self.prompt.p.token[:18].as_signed()
        m.d.comb += [
            states.data.payload.eq(self.data.payload),
            states.data.valid.eq(self.data.valid),
            states.clear.eq(payload.clear),
            self.count.eq(states.count),
            self.write.p.address.eq(address),
            self.write.p.value.eq(value),
            self.resume.payload.eq(Mux(self.frame.p.kind == Kind.RESUME, states.first, 0)),
        ]
        return states

    def _offer(self, m, states):
        """Offer one of a payload's numbers to the tokens, or to the states; whether it is taken."""
        if not states:
            m.d.comb += self.prompt.valid.eq(1)
            return self.prompt.ready
        restores = self.frame.p.kind == Kind.RESTORE
        m.d.comb += [self.prompt.valid.eq(~restores), self.write.valid.eq(restores)]
        return self.prompt.ready | restores

    def _act(self, m, states):
        """A restore leaves the states nobody's, until a resume."""
        with m.Case(Kind.RESTORE):
            m.d.comb += self.resume.valid.eq(1)
            m.next = "FETCH"
        with m.Case(Kind.RESUME):
            m.d.comb += self.resume.valid.eq(1)

    def _early(self, start):
        least = self.least_start
        return (start != 0) & ((start != least) if self.states else (start < least))

    def _judge(self, m, code, payload, memory, states):
        """Set `code` to the lowest code that holds, or 0."""
        frame, fields = self.frame.p, payload.run
        m.d.sync += code.eq(0)

        def refuse(reasons):
            """The first reason that holds is the last assignment."""
            for reason, holds in reversed(reasons.items()):
                with m.If(holds):
                    m.d.sync += code.eq(reason)

        with m.Switch(frame.kind):
            with m.Case(Kind.PROMPT):
                refuse(
                    {
                        Code.LENGTH: payload.uneven | (payload.groups == 0),
                        Code.BUSY: self.busy,
                        Code.EMPTY: payload.groups == 1,
                        Code.ADDRESS: payload.prompt_too_long,
                        Code.VOCABULARY: payload.prompt_unfit,
                    }
                )
            with m.Case(Kind.RUN):
                refuse(
                    {
                        Code.LENGTH: frame.length != sum(Run.sizes),
                        Code.BUSY: self.busy,
                        Code.EMPTY: fields.length == 0,
                        Code.COUNT: fields.count == 0,
                        Code.SPAN: payload.run_too_long,
                        Code.VOCABULARY: payload.run_unfit,
                        Code.TEMPERATURE: fields.temperature >= TEMPERATURE_LIMIT,
                        **({Code.MEMORY: ~self.memory.holds} if memory else {}),
                        **({Code.OVERWRITTEN: self._early(fields.start)} if self.rings else {}),
                        **({Code.START: fields.start != 0} if self.plain else {}),
                        **({Code.GREEDY: fields.temperature != 0} if self.greedy else {}),
                    }
                )
            if memory:
                with m.Case(Kind.LOAD):
                    refuse(
                        {
                            Code.LENGTH: (frame.length < 4) | frame.length[0],
                            Code.BUSY: self.busy,
                            Code.EMPTY: memory.load_empty,
                            Code.ADDRESS: memory.load_unfit,
                        }
                    )
                with m.Case(Kind.CHECK):
                    refuse(
                        {
                            Code.LENGTH: frame.length != sum(Check.sizes),
                            Code.BUSY: self.busy,
                            Code.EMPTY: memory.check_empty,
                            Code.ADDRESS: memory.check_unfit,
                        }
                    )
            told = frame.length, payload, self.busy, self.info.max_seq_len
            for kind, reasons in states.reasons(*told).items() if states else ():
                with m.Case(kind):
                    refuse(reasons)
            with m.Case(Kind.ASK_INFO, Kind.ABORT, Kind.ASK_STATUS):
                refuse({Code.LENGTH: frame.length != 0})
            with m.Default():
                m.d.sync += code.eq(Code.KIND)
        with m.If(frame.fault != Fault.NONE):
            m.d.sync += code.eq(frame.fault)
