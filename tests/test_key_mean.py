import numpy as np
import pytest
from celosia.reference.arithmetic import saturate
from celosia.rtl.attention.key_mean import KeyMean
from celosia.rtl.machine.step import argument
from celosia.sim import bench


@pytest.mark.parametrize(("lanes", "tokens", "layers", "words"), [(4, 3, 3, 3)])
def test_keys_lose_their_layers_mean(lanes, tokens, layers, words):
    rng = np.random.default_rng(lanes)
    means = rng.choice([-128, 127, 0, *rng.integers(-128, 128, 9)], (layers, words * lanes))
    inputs, expected = [], []
    for number in range(12):
        layer, is_key = int(rng.integers(layers)), number % 3 > 0
        for index, token in np.ndindex(words, tokens):
            edges = [-1 << 15, (1 << 15) - 1, 0, *rng.integers(-1 << 15, 1 << 15, 9)]
            data = rng.choice(edges, lanes)
            frame = {"token": token, "index": index, "last": int(index == words - 1)}
            frame["argument"] = argument(head={"is_key": is_key, "layer": layer})
            inputs.append({"data": data.tolist(), **frame})
            mean = means[layer].reshape(words, lanes)[index]
            without = saturate(data - 256 * mean, 16) if is_key else data
            expected.append({"data": without.tolist(), **frame})
    cases = [{"inputs": inputs, "stall": stall, "seed": 3} for stall in (0.0, 0.5)]
    results = bench.run_many(KeyMean(lanes, means.tolist(), tokens), cases)
    assert [result.outputs["o"] for result in results] == [expected] * 2
    assert results[0].latency == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, [[1]]), "lanes must be from 1 to 64, not 0"),
        ((1, [[1]], 65), "tokens must be from 1 to 64, not 65"),
        ((1, [[1]] * 129), r"len\(means\) must be from 1 to 128, not 129"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        KeyMean(*arguments)
