import random

import pytest
from celosia.reference.functions.functions import reciprocal
from celosia.rtl.attention.softmax_sum import SoftmaxSum
from celosia.sim import bench


def sums(n, lanes, tokens, most, seed):
    """Blocks of ``n`` sums of up to ``most`` blocks each, and the exact sums of every token."""
    rng = random.Random(seed)
    blocks, totals = [], []
    for number in range(n):
        length = [1, most, rng.randint(1, most)][number % 3]
        total = [0] * tokens
        for index in range(length):
            token_blocks = []
            for token in range(tokens):
                exponent = rng.choice([0, 15, rng.randrange(16)])
                mantissa = [rng.randrange(128) for _ in range(lanes)]
                if number % 4 == 1:
                    mantissa, exponent = [127] * lanes, 15
                elif number % 4 == 2 and token == number % tokens:
                    mantissa = [0] * lanes
                token_blocks.append({"mantissa": mantissa, "exponent": exponent})
                total[token] += sum(mantissa) << exponent
            blocks.append({"blocks": token_blocks, "last": index == length - 1})
        totals.append(total)
    return blocks, totals


def test_blocks_that_bring_their_totals():
    """Those of exponentials that are multiplied by steps."""
    rng = random.Random(1)
    blocks, totals = [], []
    for number in range(5):
        sums = [0, 0]
        for index in range(length := [1, 5, 3][number % 3]):
            brought = [rng.choice([0, (1 << 20) - 1, rng.randrange(1 << 20)]) for _ in range(2)]
            exponents = [rng.choice([0, 15, rng.randrange(16)]) for _ in range(2)]
            sums = [t + (b << e) for t, b, e in zip(sums, brought, exponents, strict=True)]
            told = [{"mantissa": [rng.randrange(128)] * 4, "exponent": e} for e in exponents]
            blocks.append({"blocks": told, "totals": brought, "last": index == length - 1})
        totals.append(sums)
    y = expected(totals, 1)
    for stall in (0.0, 0.5):
        component = SoftmaxSum(4, 2, 5, 20)
        result = bench.run(component, blocks, len(y), settings={"group": 1}, stall=stall, seed=2)
        assert result.outputs["o"] == y


@pytest.mark.parametrize("parts", [2, 4])
def test_several_blocks_at_once(parts):
    tokens, most = 2, 5
    blocks, totals = sums(30, 4, tokens * parts, most, seed=parts)
    totals = [[sum(t[n : n + parts]) for n in range(0, len(t), parts)] for t in totals]
    y = expected(totals, tokens - 1)
    component = SoftmaxSum(4, tokens, most, parts=parts)
    cases = [{"inputs": blocks, "counts": len(y), "stall": stall} for stall in (0.0, 0.5)]
    results = bench.run_many(component, [c | {"settings": {"group": 1}} for c in cases])
    for result in results:
        assert result.outputs["o"] == y
    first = next(n for n, block in enumerate(blocks) if block["last"])
    assert results[0].stream_cycles["o"][0] == first + component.latency


def expected(totals, group):
    answers = [reciprocal(max(total, 1)) for token in totals for total in token[: group + 1]]
    return [{"mantissa": int(mantissa), "shift": int(shift)} for mantissa, shift in answers]


@pytest.mark.parametrize(("lanes", "tokens", "most"), [(8, 3, 9), (2, 1, 21)])
def test_reciprocals_of_exact_sums(lanes, tokens, most):
    cases, answers = [], []
    for seed in range(6):
        group = [tokens - 1, 0][seed % 2]
        blocks, totals = sums(SoftmaxSum.waiting, lanes, tokens, most, seed)
        answers.append(expected(totals, group))
        case = {"inputs": blocks, "counts": len(answers[-1]), "settings": {"group": group}}
        cases.append(case | {"stall": [0.0, 0.5, 0.9][seed // 2], "seed": seed})
    results = bench.run_many(SoftmaxSum(lanes, tokens, most), cases)
    for result, y in zip(results, answers, strict=True):
        assert result.outputs["o"] == y
    assert any(0 in total for total in totals)


def test_latency_and_throughput():
    tokens, most = 3, 4
    blocks, totals = sums(60, 4, tokens, most, seed=9)
    blocks = [b for block in blocks for b in ({**block, "last": 0}, block)]  # room for 3 tokens
    totals = [[2 * t for t in total] for total in totals]
    y = expected(totals, tokens - 1)
    component = SoftmaxSum(4, tokens, 2 * most)
    result = bench.run(component, blocks, len(y), settings={"group": tokens - 1})
    assert result.outputs["o"] == y
    cycles = result.stream_cycles
    assert cycles["i"] == [*range(len(blocks))]
    first = next(n for n, block in enumerate(blocks) if block["last"])
    assert cycles["o"][:tokens] == [first + 4 + 5 + n for n in range(tokens)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1), "lanes must be from 1 to 64, not 0"),
        ((4, 0, 1), "tokens must be from 1 to 64, not 0"),
        ((4, 1, 0), "words must be from 1 to 1048576, not 0"),
        ((4, 1, 1, 33), "total_width must be from 0 to 32, not 33"),
        ((4, 1, 1, 0, 0), "parts must be from 1 to 64, not 0"),
        ((4, 1, 1, 20, 2), "parts must be 1 with totals, not 2"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxSum(*arguments)
