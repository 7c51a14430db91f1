"""The host link: commands of a host in, generated tokens and counters out, over a byte stream."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.protocol.messages import Info
from celosia.rtl.host.frame import FrameReceiver, FrameTransmitter
from celosia.rtl.host.host_answers import HostAnswers, done, result
from celosia.rtl.host.host_commands import HostCommands, command, prompt
from celosia.rtl.host.host_memory import memory_port
from celosia.rtl.host.host_states import state_port
from celosia.rtl.stream.checks import check_range

__all__ = ["HostLink"]


class HostLink(wiring.Component):
    """Speaks the protocol of docs/protocol.md for a machine that has one sequence of tokens.

    Every frame is answered once, in order: good commands with :class:`Ack`,
    :class:`Info` or :class:`Status`, refused and
    damaged ones with :class:`Error` and the code that
    ``refusals.refusal`` gives; these leave the machine alone. No bytes, however
    malformed, keep the link from understanding the frame that comes `timeout` cycles later.

    An answer goes before a token, a token before the end of a run, and frames do not interleave.

    Latency on a free line, in cycles: from a command's last byte to its answer's first 4, for a
    prompt 2 more per token; from ``result.valid`` to the TOKEN frame's first byte 1, to its last
    12. Throughput 1 byte per cycle, without gaps between frames. While an answer waits for its
    turn, no byte is received; a host that waits for each answer never sees this.

    Parameters
    ----------
    info : celosia.protocol.messages.Info
        What the machine is: limits and number of counters are taken from here.
    timeout : int, 1 to 2**32 - 1
        Cycles without a byte after which an incomplete frame is given up.
    memory : int, even, 0 to 2**32 - 2
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
    rx : In(stream of unsigned(8))
    tx : Out(stream of unsigned(8))
    prompt : Out(stream of prompt)
        ``{address, token}``: a token for the token memory; only while no run is going on.
    command : Out(stream of command)
        ``{start, length, count, stop, temperature, seed}``: a run, with its limits checked:
        ``start + length + count - 1 <= max_seq_len``, ``length`` and ``count`` at least 1,
        ``stop <= vocab_size``, temperature in 1/256. The link receives nothing before it is taken.
    result : In(stream of result)
        ``{token, cycles}``: a generated token. Taken when its frame begins.
    done : In(stream of done)
        ``{reason}``: the end of the run (:class:`Reason`), after
        its last result was taken. Taken when its frame ends.
    number, value : Out(unsigned(6)), In(unsigned(32))
        While ``done`` is valid, the value of the run's counter of this number, in the same cycle.
    busy : In(1)
        Prompts and runs are refused, for another reason than a run of this link. It is low
        by the time that ``done`` is taken.
    abort : Out(1)
        The run is to end after the current token with ``done``. High until that is taken.
    least_start : In(unsigned(20)), where there are rings
        Constant while no run is going on.
    memory : Out(memory_port), where there is such a memory
        Only while no run is going on.
    state : Out(state_port), where there are states
    resume : Out(stream of unsigned(20), always ready), likewise
        The position behind the states, 0 where they are nobody's: the new ``least_start``.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, info, timeout, memory=0, plain=False, greedy=False, rings=False, states=0):
        if not isinstance(info, Info):
            raise ValueError(f"info must be an Info, not {info!r}")
        if timeout not in range(1, 2**32):
            raise ValueError(f"timeout must be from 1 to 2**32 - 1, not {timeout!r}")
        if memory not in range(0, 2**32, 2):
            raise ValueError(f"memory must be an even number below 2**32, not {memory!r}")
        check_range("states", states, 0, 1 << 20)
        self.info = info
        self.timeout = timeout
        self.memory_size = memory
        self.plain = plain
        self.greedy = greedy
        self.rings = rings
        self.states = states
        resume = stream.Signature(20, always_ready=True)
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "tx": Out(stream.Signature(8)),
                "prompt": Out(stream.Signature(prompt)),
                "command": Out(stream.Signature(command)),
                "result": In(stream.Signature(result)),
                "done": In(stream.Signature(done)),
                "number": Out(6),
                "value": In(32),
                "busy": In(1),
                "abort": Out(1),
                **({"least_start": In(20)} if rings else {}),
                **({"memory": Out(memory_port())} if memory else {}),
                **({"state": Out(state_port()), "resume": Out(resume)} if states else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = FrameReceiver(self.timeout)
        m.submodules.transmitter = transmitter = FrameTransmitter()
        m.submodules.commands = commands = HostCommands(
            self.info, self.memory_size, self.plain, self.greedy, self.rings, self.states
        )
        m.submodules.answers = answers = HostAnswers(self.info, bool(self.memory_size), self.states)

        wiring.connect(m, wiring.flipped(self.rx), receiver.i)
        wiring.connect(m, receiver.data, commands.data)
        wiring.connect(m, receiver.frame, commands.frame)
        wiring.connect(m, commands.answer, answers.answer)
        wiring.connect(m, commands.prompt, wiring.flipped(self.prompt))
        wiring.connect(m, commands.command, wiring.flipped(self.command))
        wiring.connect(m, wiring.flipped(self.result), answers.result)
        wiring.connect(m, wiring.flipped(self.done), answers.done)
        m.d.comb += [self.number.eq(answers.number), answers.value.eq(self.value)]
        wiring.connect(m, answers.frame, transmitter.frame)
        wiring.connect(m, answers.data, transmitter.data)
        wiring.connect(m, transmitter.o, wiring.flipped(self.tx))
        if self.memory_size:
            checksum = commands.memory.checksum
            wiring.connect(m, commands.memory, wiring.flipped(self.memory))
            with m.If(checksum.valid & checksum.ready):
                m.d.sync += answers.checksum.eq(checksum.payload)

        if self.states:
            self._wire_states(m, commands, answers)
        if self.rings:
            m.d.comb += commands.least_start.eq(self.least_start)
        running = Signal()
        tokens = Signal.like(answers.tokens)
        m.d.comb += [
            commands.busy.eq(self.busy | running),
            answers.busy.eq(commands.busy),
            answers.tokens.eq(tokens),
        ]
        with m.If(self.result.valid & self.result.ready):
            m.d.sync += tokens.eq(tokens + 1)
        with m.If(commands.abort & running):
            m.d.sync += self.abort.eq(1)
        with m.If(self.done.valid & self.done.ready):
            m.d.sync += [running.eq(0), self.abort.eq(0)]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [running.eq(1), tokens.eq(0)]
        return m

    def _wire_states(self, m, commands, answers):
        """Values of states to the answers: from where the command said, until the next one."""
        wiring.connect(m, commands.write, wiring.flipped(self.state.write))
        wiring.connect(m, commands.resume, wiring.flipped(self.resume))
        begin = Signal(20)
        with m.If(commands.answer.valid & commands.answer.ready):
            m.d.sync += begin.eq(commands.prompt.p.address)
        m.d.comb += [
            self.state.quiet.eq(~commands.busy),
            self.state.address.eq(begin + answers.number - 1),
            answers.state.eq(self.state.value),
            answers.count.eq(commands.count),
            answers.position.eq(self.least_start),
        ]
