"""The memory of exponentials of scores, with gaps and reads anywhere."""

import random

import pytest
import scripted
from celosia.rtl.machine.score_memory import ScoreMemory
from celosia.rtl.machine.step import BUFFERS
from test_vector_memory import LANES, check_reads, check_written, play, word


@pytest.mark.parametrize(("tokens", "n_words"), [(2, 3)])
def test_score_memory(tokens, n_words):
    rng = random.Random(n_words)

    def words():
        while True:
            data = [rng.randrange(128) for _ in range(LANES)]
            exponent = rng.choice([-129, 128, rng.randrange(-129, 129)])
            yield word(rng, tokens, data, exponent=exponent, index=rng.randrange(n_words))

    def address(new):
        return new["argument"] % BUFFERS * n_words + new["index"]

    history = play(
        ScoreMemory(LANES, tokens, n_words),
        words(),
        BUFFERS * n_words,
        rng,
        lambda: {"buffer": rng.randrange(BUFFERS)},
    )
    check_reads(
        history,
        tokens,
        address,
        lambda new: {"power": new["data"], "exponent": new["exponent"]},
    )
    check_written(history, lambda new: 1 << new["argument"] % BUFFERS)
    exponents = {}
    for ports, new, seen in history:
        for token in range(tokens):
            so_far = exponents.get((ports["buffer"], token))
            assert so_far is None or seen["largest"][token] == max(so_far)
        if new is not None:
            place = new["argument"] % BUFFERS, new["token"]
            if new["index"] == 0:
                exponents[place] = []
            if place in exponents:
                exponents[place].append(new["exponent"])
    assert len(exponents) == BUFFERS * tokens


def test_score_memory_of_several_paths():
    """Vectors of words that come by two paths; a read finds four of them."""
    rng, parts, paths, tokens, reads = random.Random(1), 4, 2, 2, 3
    held, largest, cycles, expected = {}, {}, [], []
    for _ in range(40):
        buffer, vector = rng.randrange(BUFFERS), {}
        for index in range(0, rng.randint(1, reads) * parts, paths):
            for token in range(tokens):
                cycle = {"read_en": 0, "i__valid": 1, "beside__0__valid": 1}
                for path, name in enumerate(("i", "beside__0")):
                    data, exponent = (
                        [rng.randrange(128) for _ in range(LANES)],
                        rng.randrange(-99, 99),
                    )
                    vector[token, index + path] = {"power": data, "exponent": exponent}
                    frame = {"token": token, "index": index + path, "argument": buffer, "last": 0}
                    cycle[f"{name}__payload"] = frame | {"data": data, "exponent": exponent}
                cycles.append(cycle)
        held |= {(buffer, *place): block for place, block in vector.items()}
        for token in range(tokens):
            exponents = [block["exponent"] for at, block in vector.items() if at[0] == token]
            largest[buffer, token] = max(exponents)
        buffer, read = rng.choice([b for b, token, _ in held if token == 0]), rng.randrange(reads)
        port = {"address": buffer * reads + read, "read_en": 1, "buffer": buffer}
        idle = {"i__valid": 0, "beside__0__valid": 0}
        cycles += [idle | {"read_en": 0}, port | idle, idle | {"read_en": 0, "buffer": buffer}]
        places = [(token, read * parts + part) for token in range(tokens) for part in range(parts)]
        blocks = [held.get((buffer, *place)) for place in places]
        expected.append((len(cycles) - 1, blocks, [largest[buffer, t] for t in range(tokens)]))
    seen = scripted.play(ScoreMemory(LANES, tokens, reads, parts=parts, paths=paths), cycles)
    compared = 0
    for cycle, blocks, most in expected:
        pairs = [(a, b) for a, b in zip(seen[cycle]["data"], blocks, strict=True) if b is not None]
        assert all(a == b for a, b in pairs)
        assert seen[cycle]["largest"] == most
        compared += len(pairs)
    assert compared > 150


@pytest.mark.parametrize(
    ("component", "arguments", "message"),
    [
        (ScoreMemory, (4, 1, 1, 10, 0, 3), "parts must be a power of two from 1 to 64, not 3"),
        (ScoreMemory, (4, 1, 1, 10, 0, 2, 4), "paths must be a power of two from 1 to 2, not 4"),
        (ScoreMemory, (0, 1, 1), "lanes must be from 1 to 64, not 0"),
        (ScoreMemory, (4, 0, 1), "tokens must be from 1 to 64, not 0"),
        (ScoreMemory, (4, 1, 0), "words must be from 1 to 262144, not 0"),
        (ScoreMemory, (4, 1, 1, 9), "exponent_width must be from 10 to 26, not 9"),
        (ScoreMemory, (4, 1, 1, 10, 33), "total_width must be from 0 to 32, not 33"),
    ],
)
def test_bad_parameters(component, arguments, message):
    with pytest.raises(ValueError, match=message):
        component(*arguments)
