"""A prompt and its answer through a board's pins, as bytes on the serial line."""

from celosia.protocol import messages
from celosia.protocol.frames import FrameDecoder

__all__ = ["check_answers", "heard", "question"]


def question(plan, prompt, count):
    """What to send, each with the bytes heard in all by when the next is sent: Info, then a run."""
    run = messages.Run(0, len(prompt), count, plan.shape.vocab_size, 0, 0)
    commands = [messages.AskInfo(), messages.Prompt(0, prompt), run]
    answers = [len(messages.encode(plan.info)), 6, 6]
    answers[-1] += 12 * count + 5 + 4 + 4 * plan.info.n_counters
    return [(messages.encode(c), sum(answers[: n + 1])) for n, c in enumerate(commands)]


def heard(data):
    """The messages in what a machine said, and how many frames were damaged."""
    decoder = FrameDecoder()
    return [messages.decode(frame) for frame in decoder.feed(data)], decoder.damaged


def check_answers(plan, data, tokens):
    """That ``data`` answers a :func:`question` with these tokens."""
    found, damaged = heard(data)
    assert damaged == 0
    assert found[0] == plan.info
    assert [m.token for m in found if isinstance(m, messages.Token)] == tokens
    assert isinstance(found[-1], messages.Done)
    assert found[-1].tokens == len(tokens)
