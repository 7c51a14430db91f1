"""The host's half of a conversation with a machine, simulated or real."""

from celosia.protocol import messages
from celosia.protocol.frames import LONGEST_FRAME, FrameDecoder
from celosia.protocol.messages import Kind, Token
from celosia.protocol.refusals import TEMPERATURE_LIMIT, TEMPERATURE_ONE
from celosia.sim import state as states
from celosia.sim.generation import Done, Generation
from celosia.sim.refusals import DAMAGE, reason, refused
from celosia.sim.transport import SECONDS, DriverError, Transport

__all__ = ["Done", "Driver", "DriverError", "Generation", "Token", "Transport"]

RESET = 60  # answers' times that a machine may take for a token and its end


class Driver:
    """Runs a machine behind a transport.

    Parameters
    ----------
    transport : Transport
    counters : sequence of str
        Names of the machine's counters in their order; by default ``counter_0`` and so on.
    timeout : float, optional
        Within which the machine must answer a command: seconds, or cycles of a simulated machine
        (:class:`celosia.sim.transport.Clock`, which has the default).
    patience : float, optional
        Within which the next token must come; by default any time, as long as the machine says
        that it is busy.
    """

    def __init__(self, transport, counters=(), timeout=None, patience=None):
        self._transport = transport
        self._clock = getattr(transport, "clock", SECONDS)
        self._counters = tuple(counters)
        self._timeout = timeout or self._clock.answer
        self._patience = patience
        self._decoder = FrameDecoder()
        self._last_byte = self._clock.now()
        self._info = None
        self._generation = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Close the transport."""
        self._transport.close()

    @property
    def damaged(self):
        """How many damaged frames came from the machine."""
        return self._decoder.damaged

    def info(self):
        """What the machine is: :class:`celosia.protocol.messages.Info`; asked once."""
        if self._info is None:
            info = self._ask(messages.AskInfo(), messages.Info)
            if self._counters and info.n_counters != len(self._counters):
                raise DriverError(
                    f"the machine has {info.n_counters} counters, not {len(self._counters)}"
                )
            self._info = info
        return self._info

    def status(self):
        """What the machine is doing: :class:`celosia.protocol.messages.Status`."""
        return self._ask(messages.AskStatus(), messages.Status)

    def reset(self):
        """Make the machine ready for a run, whatever was sent to it before.

        A frame that was interrupted is completed, and a run is aborted.
        """
        self._generation = None
        self._decoder = FrameDecoder()
        self._transport.send(bytes(LONGEST_FRAME))
        self._ask(messages.Abort(), messages.Ack, heed_errors=False)
        begin, patience = self._clock.now(), self._patience or RESET * self._timeout
        while self.status().busy:
            self._be_patient(begin, patience)
            self._hear(self._timeout / 40)

    def abort(self):
        """Ask the machine to end its run after the current token.

        Tokens that were generated before can still be taken from the :class:`Generation`, which
        then ends.
        """
        self._ask(messages.Abort(), messages.Ack)

    def run(self, prompt, count, temperature=0.0, seed=0, stop=None, start=0):
        """Let the machine process a prompt and generate tokens.

        A generation that is not at its end is aborted. Positions before `start` keep what
        earlier runs left there. A machine with sliding windows refuses a start whose window they
        have overwritten since; 0, and where the sequence ends, are always good.

        Parameters
        ----------
        prompt : sequence of int
        count : int
            How many tokens to generate.
        temperature : float, from 0 to less than 16
            In steps of 1/256; 0 takes the most likely token.
        seed : int, 0 to 2**32 - 1
        stop : int or sequence of int, optional
            Tokens after which generation ends. The machine knows the first; after another one the
            host ends the run, and what the machine gave meanwhile is dropped.
        start : int
            Position of the prompt's first token.

        Returns
        -------
        Generation

        Raises
        ------
        ValueError
            If a number is out of range.
        DriverError
            If the machine refuses, or does not answer.
        """
        info = self.info()
        prompt = [int(token) for token in prompt]
        limit = TEMPERATURE_LIMIT / TEMPERATURE_ONE
        heat = round(temperature * TEMPERATURE_ONE) if 0 <= temperature < limit else -1
        if heat not in range(TEMPERATURE_LIMIT):
            raise ValueError(f"temperature must be from 0 to less than 16, not {temperature!r}")
        if self._generation is not None and self._generation.done is None:
            self.abort()
            for _ in self._generation:
                pass
        first, *others = [stop] if isinstance(stop, int) else stop or [info.vocab_size]
        command = messages.Run(start, len(prompt), count, first, heat, seed)
        command.payload()
        for begin in range(0, len(prompt), messages.PROMPT_TOKENS):
            part = tuple(prompt[begin : begin + messages.PROMPT_TOKENS])
            self._ask(messages.Prompt(start + begin, part), messages.Ack)
        names = self._counters or [f"counter_{index}" for index in range(info.n_counters)]
        generation = Generation(
            self._wait_for, self.abort, names, count, info.vocab_size, stops=others
        )
        self._generation = generation
        try:
            self._ask(command, messages.Ack)
        except DriverError:
            self._generation = None
            raise
        return generation

    def save(self):
        """What a recurrent model remembers of its sequence: :class:`celosia.sim.state.State`.

        Raises
        ------
        DriverError
            If the machine has no states, is busy, or does not answer.
        """
        return states.save(self._ask, self.info())

    def restore(self, state):
        """Put such a state into the machine: a run may then begin at ``state.position``.

        Raises
        ------
        DriverError
            If it is that of another model; likewise.
        """
        states.restore(self._ask, self.info(), state)

    def checksum(self, address, length):
        """The CRC-32 of what the machine's memory holds, from the byte `address` on.

        Raises
        ------
        DriverError
            If the machine has no such memory, is busy, or does not answer.
        """
        timeout = max(self._timeout + length * self._clock.byte, self._patience or 0)
        return self._ask(messages.Check(address, length), messages.Checksum, timeout=timeout).crc

    def write(self, address, data):
        """Write bytes into the machine's memory, from the byte `address` on, both even.

        Frames follow each other without waiting for their answers; one that was damaged on the
        way is left out, so that the memory must be looked at afterwards (:meth:`checksum`).
        """
        frames = 0
        for first in range(0, len(data), messages.LOAD_BYTES):
            part = bytes(data[first : first + messages.LOAD_BYTES])
            self._transport.send(messages.encode(messages.Load(address + first, part)))
            frames += 1
        deadline = self._clock.now() + self._timeout
        while frames and (left := deadline - self._clock.now()) > 0:
            for message in self._hear(left):
                if isinstance(message, messages.Error) and message.code not in DAMAGE:
                    raise DriverError(f"the machine refused to load: {reason(message)}")
                frames -= 1
                deadline = self._clock.now() + self._timeout

    def _ask(self, command, expected, heed_errors=True, timeout=None):
        """The machine's answer to a command: a message of class `expected`."""
        self._transport.send(messages.encode(command))
        timeout = timeout or self._timeout
        deadline = self._clock.now() + timeout
        while (left := deadline - self._clock.now()) > 0:
            for message in self._hear(left):
                if isinstance(message, messages.Error):
                    if heed_errors and _is_about(message, command):
                        raise DriverError(refused(command, message))
                elif isinstance(message, expected) and _is_about(message, command):
                    return message
        raise DriverError(f"no answer from the machine within {self._text(timeout)}")

    def _wait_for(self, generation):
        """Wait until a token or the end of a generation arrives."""
        if generation is not self._generation:
            raise DriverError("the machine was given another run, or reset")
        begin, heard = self._clock.now(), generation.heard
        self._hear(self._timeout)
        while generation.heard == heard:
            busy = self.status().busy
            if generation.heard == heard:
                if not busy:
                    raise DriverError("the machine ended its run, but not all it said arrived")
                self._be_patient(begin, self._patience)
                self._hear(self._timeout)

    def _be_patient(self, begin, patience):
        """Raise if `begin` lies further back than `patience`, if there is one."""
        if patience is not None and self._clock.now() - begin > patience:
            raise DriverError(f"the machine is still busy after {self._text(patience)}")

    def _text(self, time):
        digits = f"{time:,.0f}" if self._clock.unit == "cycles" else f"{time:g}"
        return f"{digits} {self._clock.unit}"

    def _hear(self, timeout):
        """Wait up to `timeout` for a frame.

        Messages about the run go to the generation, the others are returned. What is left of a
        frame is given up when half the time-out has passed since its last byte.
        """
        deadline = self._clock.now() + timeout
        frames, left = [], timeout
        while not frames and left > 0:
            if data := self._transport.receive(left):
                self._last_byte = self._clock.now()
                frames = self._decoder.feed(data)
            elif self._clock.now() - self._last_byte > self._timeout / 2:
                frames = self._decoder.flush()
            left = deadline - self._clock.now()
        answers = []
        for message in map(_decode, frames):
            if not isinstance(message, Token | messages.Done):
                answers.append(message)
            elif self._generation is not None:
                self._generation.hear(message)
        return answers


def _decode(frame):
    if frame.kind == Kind.INFO and frame.payload[:1] not in (b"", bytes([messages.VERSION])):
        raise DriverError(
            f"the machine speaks version {frame.payload[0]} of the protocol, "
            f"this driver version {messages.VERSION}"
        )
    try:
        return messages.decode(frame)
    except ValueError as error:
        raise DriverError(f"the machine does not keep to the protocol: {error}") from None


def _is_about(answer, command):
    """Whether an answer may be meant for this command, and not for one before."""
    if isinstance(answer, messages.Error) and answer.code in DAMAGE:
        return True
    return getattr(answer, "command", command.kind) == command.kind
