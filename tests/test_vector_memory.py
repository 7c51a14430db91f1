import random

import pytest
import scripted
from celosia.rtl.machine.step import Region
from celosia.rtl.machine.vector_memory import ActivationMemory, QueryMemory

LANES = 2
CYCLES = 1200


def word(rng, tokens, data, **more):
    frame = {"token": rng.randrange(tokens), "last": rng.random() < 0.2}
    frame |= {"index": 0, "argument": rng.randrange(256)}
    return frame | {"data": data} | more


def play(component, words, depth, rng, also=dict):
    """Write ``words`` with gaps and read anywhere, ``also`` setting other ports, cycle by cycle.

    Returns for each cycle what was set, with the word or None, and what was seen.
    """
    cycles, written = [], []
    for _ in range(CYCLES):
        new = next(words) if rng.random() < 0.7 else None
        port = {"i__valid": new is not None, "address": rng.randrange(depth), "read_en": 1}
        port["read_en"] = rng.random() < 0.7
        if new is not None:
            port["i__payload"] = new
        cycles.append(port | also())
        written.append(new)
    return [*zip(cycles, written, scripted.play(component, cycles), strict=True)]


def check_reads(history, tokens, address_of, content_of):
    """Every read finds the newest word written in an earlier cycle, and stays until the next."""
    held, expected, compared = {}, None, 0
    for ports, new, seen in history:
        if expected is not None:
            for token in range(tokens):
                if token in expected:
                    assert seen["data"][token] == expected[token]
                    compared += 1
        if ports["read_en"]:
            address = ports["address"]
            found = {t: held[t, address] for t in range(tokens) if (t, address) in held}
            if new is not None and address_of(new) == address:
                found.pop(new["token"], None)  # read while it is written
            expected = found
        if new is not None:
            held[new["token"], address_of(new)] = content_of(new)
    assert compared > 300


def check_written(history, value):
    """``written`` shows ``value(last word)`` in the cycle after an operation's last word."""
    before = None
    for _, new, seen in history:
        assert seen["written"] == (value(before) if before and before["last"] else 0)
        before = new


@pytest.mark.parametrize(
    ("tokens", "starts", "depth", "width"), [(3, (0, 5, 9), 14, 8), (1, (0, 1, 2), 3, 5)]
)
def test_activation_memory(tokens, starts, depth, width):
    rng = random.Random(depth)

    def words():
        while True:
            data = [rng.randrange(-1 << width - 1, 1 << width - 1) for _ in range(LANES)]
            yield word(rng, tokens, data, exponent=rng.randrange(16), index=rng.randrange(depth))

    def refills():
        return {
            "group": tokens - 1 - (tokens > 1),
            "refill": rng.choice([*Region]).value,
            "refill_en": rng.random() < 0.1,
        }

    memory = ActivationMemory(LANES, tokens, starts, depth, width)
    history = play(memory, words(), depth, rng, refills)
    check_reads(
        history,
        tokens,
        lambda new: new["index"],
        lambda new: {
            "mantissa": [x << 8 - width for x in new["data"]],
            "exponent": new["exponent"],
        },
    )
    check_written(history, lambda new: 1)
    marks = [0, 0, 0]
    for ports, new, seen in history:
        if new is not None and new["token"] == ports["group"]:
            region = max(n for n in range(3) if starts[n] <= new["index"])
            marks[region] = new["index"] + 1
        if ports["refill_en"] and ports["refill"] != Region.NONE.value:
            marks[ports["refill"]] = starts[ports["refill"]]
        for n, mark in enumerate(marks):
            shown = seen[f"filled__{n}"]
            following = shown["fresh"] + 1 if shown["moves"] else shown["end"]
            assert (starts[n] if shown["falls"] else following) == mark


@pytest.mark.parametrize(("tokens", "n_heads", "head_words"), [(3, 5, 3), (1, 4, 1)])
def test_query_memory(tokens, n_heads, head_words):
    rng = random.Random(n_heads)

    def words():
        """All heads, again and again, by one operation or several; each index for all tokens."""
        while True:
            first = 0
            while first < n_heads:
                count = rng.randint(1, n_heads - first)
                for place in range(count * head_words):
                    head, part = divmod(place, head_words)
                    index = first * head_words + place
                    for token in range(tokens):
                        data = [rng.randrange(-128, 128) for _ in range(LANES)]
                        frame = {"token": token, "last": False, "index": index}
                        if token == tokens - 1 and place == count * head_words - 1:
                            frame["last"] = True
                        more = {"step": rng.randrange(512), "head": head, "word": part}
                        yield word(rng, tokens, data) | more | frame
                first += count

    history = play(
        QueryMemory(LANES, tokens, n_heads, head_words),
        words(),
        n_heads * head_words,
        rng,
        lambda: {"head": rng.randrange(n_heads)},
    )
    check_reads(history, tokens, lambda new: new["index"], lambda new: new["data"])
    depth = n_heads * head_words
    check_written(history, lambda new: 1 if new["index"] == depth - 1 else 2)
    steps = {}
    for ports, new, seen in history:
        for token in range(tokens):
            step = steps.get((ports["head"], token))
            assert step is None or seen["steps"][token] == step
        if new is not None and new["word"] == 0:
            steps[new["index"] // head_words, new["token"]] = new["step"]
    assert len(steps) == n_heads * tokens


@pytest.mark.parametrize(
    ("component", "arguments", "message"),
    [
        (ActivationMemory, (0, 1, (0, 1, 2), 3), "lanes must be from 1 to 64, not 0"),
        (ActivationMemory, (4, 65, (0, 1, 2), 3), "tokens must be from 1 to 64, not 65"),
        (ActivationMemory, (4, 1, (0, 2, 2), 3), r"ascending numbers from 0, not \(0, 2, 2\)"),
        (ActivationMemory, (4, 1, (1, 2, 3), 4), r"ascending numbers from 0, not \(1, 2, 3\)"),
        (ActivationMemory, (4, 1, (0, 1, 2), 3, 9), "width must be from 2 to 8, not 9"),
        (ActivationMemory, (4, 1, (0, 1, 2), 2), "depth must be from 3 to 1048576, not 2"),
        (QueryMemory, (65, 1, 1, 1), "lanes must be from 1 to 64, not 65"),
        (QueryMemory, (4, 0, 1, 1), "tokens must be from 1 to 64, not 0"),
        (QueryMemory, (4, 1, 257, 1), "n_heads must be from 1 to 256, not 257"),
        (QueryMemory, (4, 1, 1, 0), "head_words must be from 1 to 256, not 0"),
    ],
)
def test_bad_parameters(component, arguments, message):
    with pytest.raises(ValueError, match=message):
        component(*arguments)
