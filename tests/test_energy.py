"""The energy of a token's operations, by widths and memories."""

import pytest
from celosia.generators.config import load_config
from celosia.generators.estimate.energy import ON_CHIP, OUTSIDE, PRODUCT, SUM, token_energy
from celosia.generators.estimate.sketch import make_sketch
from celosia.reference.model import random_model
from small_checkpoint import CONFIG


def energy(*settings, position=5):
    config = load_config("small", ["weight_parallelism=32", "vector_lanes=4", *settings])
    return token_energy(make_sketch(CONFIG, config).description, config, position)


def test_it_is_that_of_products_and_bytes():
    """Of a model with 8-bit weights on chip: nothing but the sources' figures."""
    sketch = make_sketch(CONFIG, load_config("small"))
    weights = sketch.macs(0) - 2 * CONFIG.n_layers * CONFIG.n_heads * CONFIG.head_dim
    least = sketch.macs(5) * (PRODUCT + SUM) + weights * ON_CHIP
    assert least < 1e6 * energy() < 1.5 * least
    read = 1e6 * (energy("memory=sdram") - energy())
    assert read == pytest.approx(weights * (OUTSIDE - ON_CHIP), rel=0.2)  # and scales


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (("weight_width=4",), ()),
        (("weight_width=2", "weight_format=ternary"), ("weight_width=2",)),
        (("key_width=4",), ()),
        ((), ("kv_memory=axi",)),
        (("weight_width=4",), ("weight_width=4", "group_size=16")),
    ],
)
def test_what_takes_more(less, more):
    assert energy(*less) < energy(*more)


def test_a_window_ends_what_is_read():
    model = random_model(CONFIG)
    config = load_config("compact", ["window=4", "max_seq_len=16"])
    assert token_energy(model.description, config, 3) == token_energy(model.description, config, 9)
