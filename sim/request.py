"""What a machine is asked for: a prompt, how many tokens, how they are chosen."""

from dataclasses import dataclass

from celosia.protocol.refusals import TEMPERATURE_LIMIT, TEMPERATURE_ONE

__all__ = ["Request", "RequestError", "prompt_tokens", "stop_tokens"]

HEAT_LIMIT = TEMPERATURE_LIMIT - 0.5  # what is below rounds to what the machine takes


class RequestError(ValueError):
    """A request that no machine of this size can carry out; the message says why."""


@dataclass(frozen=True)
class Request:
    """What the machine is asked for.

    Parameters
    ----------
    prompt : tuple of int
    count : int, 1 or more
        Tokens to generate.
    temperature : float, 0 or from 1/256 to less than 16
        The machine counts in steps of 1/256: it is rounded to the nearest.
    seed : int, 0 to 2**32 - 1
    before : tuple of int
        The tokens of the sequence before the prompt, whose state is in the machine.
    """

    prompt: tuple
    count: int
    temperature: float = 0.0
    seed: int = 0
    before: tuple = ()

    @property
    def heat(self):
        """The temperature in steps of 1/256."""
        return round(self.temperature * TEMPERATURE_ONE)

    def check(self, vocab_size, max_seq_len, samples=True):
        """Raise :class:`RequestError` if a machine of this vocabulary and length cannot do it.

        ``samples`` says whether the machine does.
        """
        if not self.prompt:
            raise RequestError("the prompt has no tokens")
        for token in self.prompt:
            if token not in range(vocab_size):
                raise RequestError(f"prompt token {token} is not one of the model's {vocab_size}")
        if self.count < 1:
            raise RequestError(f"tokens must be at least 1, not {self.count}")
        before = f" behind {len(self.before)}" if self.before else ""
        positions = len(self.before) + len(self.prompt) + self.count - 1
        if positions > max_seq_len:
            raise RequestError(
                f"a prompt of {len(self.prompt)} tokens{before} and {self.count} generated ones "
                f"take {positions} positions, more than max_seq_len, {max_seq_len}"
            )
        self.check_sampling(samples)

    def check_sampling(self, samples=True):
        """Raise :class:`RequestError` if no machine samples like that, or this one does not."""
        if self.temperature and not samples:
            raise RequestError(
                f"temperature must be 0, not {self.temperature:g}: this machine takes the most "
                "likely token"
            )
        if not (self.temperature == 0 or 0.5 < self.temperature * TEMPERATURE_ONE < HEAT_LIMIT):
            raise RequestError(
                f"temperature must be 0, or from 1/256 to less than 16, not {self.temperature:g}"
            )
        if self.seed not in range(1 << 32):
            raise RequestError(f"seed must be from 0 to 2**32 - 1, not {self.seed}")


def prompt_tokens(tokenizer, text=None, tokens=None, behind=()):
    """The prompt: ``tokens`` (numbers divided by commas), or ``text`` after the begin token.

    Without either, the begin token alone. ``behind`` tokens that are to be fed first none is put.
    """
    if text is not None and tokens is not None:
        raise RequestError("give a prompt as text or as tokens, not both")
    if tokens is not None:
        try:
            return (*behind, *(int(number) for number in tokens.split(",")))
        except ValueError:
            raise RequestError(
                f"prompt tokens must be whole numbers divided by commas, not {tokens!r}"
            ) from None
    if behind and text is None:
        return tuple(behind)
    if tokenizer is None:
        raise RequestError("the model brings no tokenizer: give one, or a prompt in tokens")
    if behind:
        return (*behind, *tokenizer.encode(text, bos=False))
    if text is None and tokenizer.bos is None:
        raise RequestError("the tokenizer has no begin token: give a prompt")
    return tuple(tokenizer.encode(text or ""))


def stop_tokens(tokenizer, vocab_size, stops):
    """The tokens and the texts at which to stop, of what ``--stop`` says: ``(set, list)``.

    A number is a token, and so is a text that is one of the tokenizer's control tokens.
    """
    tokens, texts = set(), []
    for stop in stops:
        if stop.isdecimal():
            tokens.add(int(stop))
        elif tokenizer is None:
            raise RequestError("the model brings no tokenizer: give --stop as a token's number")
        else:
            cut = tokenizer.encode(stop, bos=False)
            one = len(cut) == 1 and not tokenizer.piece(None, cut[0])
            tokens.update(cut) if one else texts.append(stop)
    if beyond := [token for token in tokens if token >= vocab_size]:
        raise RequestError(f"--stop: token {beyond[0]} is not one of the model's {vocab_size}")
    if "" in texts:
        raise RequestError("--stop must not be empty")
    return tokens, texts
