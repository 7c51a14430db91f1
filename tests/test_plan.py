"""Plans: tapes in the order of use, ideal cycles, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from celosia.generators.config import NAMED, ConfigError, load_config
from celosia.generators.plan import digest, make_plan
from celosia.reference import integer
from celosia.reference.families import describe
from celosia.reference.model import random_model
from celosia.reference.quantization.calibration import calibrate
from celosia.reference.units.scale import LEAST_SHIFT, scale
from celosia.rtl.machine.shape import Unit


@pytest.fixture
def make(tiny_config):
    def make(settings=(), config="tiny", **changes):
        return make_plan(
            random_model(tiny_config(**changes), seed=2), load_config(config, settings)
        )

    return make


def counted_macs(config, position):
    """Multiplications of a token, matrix by matrix."""
    shapes = describe(config).layer_shapes(0)
    linear = sum(rows * columns for rows, columns in (s for s in shapes.values() if len(s) == 2))
    scores = values = config.n_heads * config.head_dim * (position + 1)
    return config.n_layers * (linear + scores + values) + config.vocab_size * config.dim


@pytest.mark.parametrize("position", [0, 7])
def test_ideal_cycles(make, position):
    plan = make(["token_parallelism=2"])
    config = plan.model.config
    assert plan.macs(position) == counted_macs(config, position)
    assert plan.macs(position, logits=False) == plan.macs(position) - 33 * 12
    assert plan.shape.multipliers == 16
    assert plan.ideal_cycles(position) == plan.macs(position) / 16


def test_stories260k_has_its_known_macs(stories260k_model):
    plan = make_plan(stories260k_model, load_config("small"))
    attention = 5 * 2 * 8 * 8
    assert plan.macs(0) == 259_328 + attention


@pytest.mark.parametrize("tied", [True, False])
def test_tape_holds_every_weight_once(make, tied):
    """As many of each value as the model has, and the padding's zeros."""
    plan = make(["weight_parallelism=16", "vector_lanes=4"], tied=tied)
    model = plan.model
    matrices = [op.matrix for op in model.operations if hasattr(op, "matrix")]
    matrices += [] if tied else [model.begin[0].table]
    expected = sum(
        np.bincount(m.weight.reshape(-1).astype(int) + 128, minlength=256) for m in matrices
    )
    found = np.bincount(plan.tapes.weights.reshape(-1).astype(int) + 128, minlength=256)
    expected[128] = found[128] = 0
    np.testing.assert_array_equal(found, expected)


def test_first_beats_are_the_first_rows_of_k(make):
    plan = make()
    assert plan.tapes.weights.shape[1:] == (4, 2)
    k = next(op.matrix.weight for op in plan.model.layers[0] if getattr(op, "name", "") == "wk")
    np.testing.assert_array_equal(plan.tapes.weights[0], k[:4, :2])
    np.testing.assert_array_equal(plan.tapes.weights[1], k[:4, 2:4])
    np.testing.assert_array_equal(plan.tapes.weights[k.shape[1] // 2], k[4:8, :2])


def test_hash_tells_models_apart(make):
    same = {make().info.model_hash for _ in range(2)}
    assert len(same) == 1
    assert make(["weight_width=7"]).info.model_hash not in same


def increments(shape):
    """The different sets of angles, each the increments of a head's pairs."""
    units = [unit for route in shape.routes for unit in route.units if unit.kind == "rope"]
    return {angles for unit in units for angles in dict(unit.settings)["increments"]}


def turned(shape, angles):
    """The routes of ``shape`` with other ``angles``."""
    unit = Unit("rope", settings=(("increments", (angles,)),))
    return tuple(
        replace(route, units=tuple(unit if u.kind == "rope" else u for u in route.units))
        for route in shape.routes
    )


def test_hash_covers_all_that_is_computed_with(make):
    """Any one number of the gains, the tapes, the formats, epsilon, or the rotation."""
    plan = make()
    shape, tapes = plan.shape, plan.tapes
    gains = {name: gain.copy() for name, gain in tapes.gains.items()}
    gains["norm"][0] += 1
    (angles,) = increments(shape)
    others = [
        (shape, replace(tapes, gains=gains)),
        (shape, replace(tapes, weights=tapes.weights + np.int8(1))),
        (shape, replace(tapes, scales=tapes.scales + 1)),
        *(
            (replace(shape, **{name: getattr(shape, name) + 1}), tapes)
            for name in (
                *("epsilon", "score_fraction", "score_width", "gate_fraction", "logit_fraction"),
            )
        ),
        (replace(shape, routes=turned(shape, (5, *angles[1:]))), tapes),
    ]
    hashes = {digest(*machine) for machine in [(shape, tapes), *others]}
    assert len(hashes) == 1 + len(others)
    assert digest(shape, tapes) == plan.info.model_hash


@pytest.mark.parametrize("width", [8, 5])
def test_images_hold_the_tape(make, width):
    """Two ports, each with its half of every beat; little-endian."""
    settings = ["memory=axi", "axi_ports=2", "axi_width=32", "weight_parallelism=64"]
    plan = make([*settings, "vector_lanes=4", f"weight_width={width}"], hidden_dim=40)
    images = plan.images()
    assert len(images) == 2
    for beat in (0, len(plan.tapes.weights) - 1):
        size = 64 * width // 8 // 2
        octets = b"".join(image[beat * size : (beat + 1) * size].tobytes() for image in images)
        word = int.from_bytes(octets, "little")
        values = [word >> width * n & (1 << width) - 1 for n in range(64)]
        assert (
            values == (plan.tapes.weights[beat].reshape(-1).astype(int) & (1 << width) - 1).tolist()
        )


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (["max_seq_len=17"], {}, "max_seq_len must be at most the model's 16, not 17"),
        (["weight_parallelism=128"], {}, "64 rows, more than the model can fill"),
        (["group_size=64"], {}, "a group of 64 weights does not fit a row of"),
        (
            ["kv_page_size=4", "kv_pages=3"],
            {},
            "kv_pages must be at least 4 for max_seq_len 16 with",
        ),
        (["kv_page_size=4"], {"options": {"windows": (3, 3)}}, "kv_page_size must be 0 where all"),
        ([], {"n_layers": 128}, "n_layers must be at most 127, not 128"),
        (["softmax_lanes=4"], {}, "must be at most 2 for a machine whose heads leave room for 1"),
        (
            ["softmax_lanes=2", "kv_memory=axi"],
            {},
            "softmax_lanes must be 0 unless kv_memory is on_chip, not 2",
        ),
        (
            ["softmax_lanes=4", "weight_parallelism=32"],
            {"family": "gemma2", "options": {"score_cap": 20.0}},
            "softmax_lanes must be at most 2 for a machine of scores with a cap, not 4",
        ),
    ],
)
def test_refused(make, settings, changes, message):
    with pytest.raises(ConfigError, match=message):
        make(settings, **changes)


def test_refuses_what_has_no_integers(tiny_config):
    """A model whose float arithmetic overflows, and values that no binary point holds."""
    model = random_model(tiny_config())
    model.layers[0]["w_down"][:] = 3e38
    with pytest.raises(ConfigError, match=r"random0 has no such machine: .* is not finite"):
        make_plan(model, load_config("tiny"))
    for names, factor, message in (
        (("head",), 1e9, "logits reach .*, which no format holds"),
        (("wq", "wk"), 1e5, "attention scores reach .*, which no format holds"),
        (("w_gate",), 1e7, "gates reach .*, which no format holds"),
    ):
        model = random_model(tiny_config(tied=False))
        for name in names:
            tensors = model.tensors if name == "head" else model.layers[1]
            tensors[name] = tensors[name] * np.float32(factor)
        with pytest.raises(ConfigError, match=f"random0 has no such machine: {message}"):
            make_plan(model, load_config("tiny"))


def test_a_matrix_of_next_to_nothing_is_zero(tiny_config):
    model = random_model(tiny_config())
    model.layers[1]["wo"] *= np.float32(1e-36)
    plan = make_plan(model, load_config("tiny"))
    nothing = random_model(tiny_config())
    nothing.layers[1]["wo"][:] = 0
    zero = make_plan(nothing, load_config("tiny"), calibrate(model))
    found, wanted = (integer.generate(p.model, [1, 2], 5)[1] for p in (plan, zero))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_eps": 1e30}, "norm_eps must be at most .* here, not 1e\\+30"),
        ({"rope_theta": 1e-300, "head_dim": 64}, None),
        ({"rope_theta": 1e-323, "head_dim": 64}, "rope_theta .* frequencies that are not finite"),
        ({"norm_eps": 0.0}, None),
        ({"norm_eps": 1e-40}, None),
        ({"rope_theta": 1e300}, None),
        ({"rope_theta": 1e-3}, None),
    ],
)
def test_extreme_numbers(tiny_config, changes, message):
    """They work, or a line names the field."""
    model = random_model(tiny_config(**changes))
    if message is None:
        (angles,) = increments(make_plan(model, load_config("tiny")).shape)
        assert len(angles) == model.config.head_dim // 2
        assert all(0 <= n < 1 << 32 for n in angles)
        return
    with pytest.raises(ConfigError, match=message) as refused:
        make_plan(model, load_config("tiny"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", sorted(set(NAMED) - {"compact"}))
def test_heads_of_256_have_a_machine(tiny_config, name):
    sizes = {"dim": 40, "hidden_dim": 300, "n_heads": 2, "n_kv_heads": 1, "head_dim": 256}
    model = random_model(tiny_config(**sizes, n_layers=1))
    config = load_config(name)
    if config.group_size:
        config = replace(config, group_size=config.vector_lanes)
    assert make_plan(model, config).shape.head_words * config.vector_lanes == 256


def test_limits_of_units_are_told_in_a_line(tiny_config):
    """More than 256 words in a head."""
    model = random_model(tiny_config(n_layers=1, n_heads=1, n_kv_heads=1, head_dim=514))
    with pytest.raises(ConfigError, match="head_words must be from 1 to 256, not 257"):
        make_plan(model, load_config("tiny"))


def test_layers_of_zeros(tiny_config):
    """Norms without any gain, matrices without any weight: integers that are all 0."""
    model = random_model(tiny_config(tied=False))
    model.tensors["norm"][:] = 0
    for array in (model.tensors["embedding"], *model.layers[0].values()):
        array[:] = 0
    plan = make_plan(model, load_config("tiny"))
    _, logits = integer.generate(plan.model, [1, 2, 3], 2)
    assert not logits.any()


@pytest.mark.parametrize("width", [2, 4])
def test_embeddings_of_few_bits_keep_their_size(tiny_config, width):
    """A row's scale in units of the residual grows as its bits get fewer."""
    model = random_model(tiny_config())
    plan = make_plan(model, load_config("tiny", [f"weight_width={width}"]))
    e = plan.model.begin[0].table
    assert e.shift >= LEAST_SHIFT
    found = scale(e.integers(), e.scale[:, None], e.shift) * 2.0**-plan.model.residual_fraction
    found, wanted = found[:, : model.config.dim], model.tensors["embedding"]
    np.testing.assert_allclose(found, wanted, atol=np.abs(wanted).max() / (2**width - 2) * 1.01)
