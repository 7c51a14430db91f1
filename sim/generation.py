"""The tokens of a run, as a machine gives them, and its end."""

from collections import deque
from dataclasses import dataclass, replace

from celosia.protocol.messages import Reason, Token
from celosia.sim.transport import DriverError

__all__ = ["Done", "Generation"]


@dataclass(frozen=True)
class Done:
    """The end of a generation.

    Parameters
    ----------
    reason : celosia.protocol.messages.Reason
    counters : dict
        The machine's counters by name.
    """

    reason: Reason
    counters: dict


class Generation:
    """The tokens of one run, as they arrive: an iterator of :class:`Token`.

    It ends with a :class:`DriverError` if something of the run was lost, or if the machine gives
    what it was not asked for: a token of no vocabulary, or more than ``count`` tokens.

    After one of the tokens ``stops``, which the machine does not know as ends, the run is ended by
    ``abort()``; what the machine gave beyond it is dropped.

    Attributes
    ----------
    done : Done or None
        Set when the end has arrived.
    given : int
        Tokens that came from the machine, with those that were dropped.
    """

    def __init__(self, wait, abort, names, count, vocab_size, stops=()):
        self.done = None
        self.waiting = deque()
        self.heard = 0
        self.given = 0
        self._wait = wait
        self._abort = abort
        self._stops = frozenset(stops)
        self._names = names
        self._count = count
        self._vocab_size = vocab_size
        self._failure = None

    def __iter__(self):
        return self

    def __next__(self):
        if not self.waiting and self.done is None:
            self._wait(self)
        if self.waiting:
            token = self.waiting.popleft()
            if token.token in self._stops:
                self.stop()
            return token
        if self._failure:
            raise DriverError(self._failure)
        raise StopIteration

    def stop(self):
        """End the run after the token that was taken last; what came beyond it is dropped."""
        if self.done is None:
            self._abort()
        while self.done is None:
            self._wait(self)
        self.waiting.clear()
        self.done = replace(self.done, reason=Reason.STOP)

    def hear(self, message):
        """Take a message about this run."""
        n_tokens, self.heard = self.heard, self.heard + 1
        if isinstance(message, Token):
            self.given += 1
            if message.token >= self._vocab_size:
                raise DriverError(
                    f"the machine gave token {message.token} of a vocabulary of {self._vocab_size}"
                )
            if n_tokens >= self._count:
                raise DriverError(f"the machine gave more than the {self._count} tokens asked for")
            self.waiting.append(message)
            return
        self.done = Done(message.reason, dict(zip(self._names, message.counters, strict=False)))
        if message.reason == Reason.FAULT:
            self._failure = "the machine's external memory answered with an error"
        elif len(message.counters) != len(self._names):
            self._failure = f"the machine sent {len(message.counters)} counters"
        elif message.tokens != n_tokens:
            self._failure = f"only {n_tokens} of {message.tokens} generated tokens arrived"
