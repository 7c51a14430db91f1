"""Training: PyTorch's forward pass is the reference's, its rounded weights are the machine's."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.compact.form import compact_form
from celosia.reference.compact.operations import CompactLinear
from celosia.reference.compact.quantize import quantize_compact
from celosia.reference.compact.tables import scale_values
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.operations.linear import IntegerLinear
from celosia.reference.quantization.calibration import calibrate
from celosia.reference.quantization.coded import Coded
from celosia.reference.quantization.digits import digits
from celosia.reference.quantization.quantize import quantize
from celosia.reference.quantization.scheme import Scheme
from families.cases import CASES, relative_difference

pytest.importorskip("torch", reason="needs PyTorch: pip install celosia[train]")

import torch

from celosia.training.compact import CompactRounding, equal_values
from celosia.training.distill import Training, Windows, distill
from celosia.training.forward import Cache, forward, tensors_of
from celosia.training.rounding import Rounding, ternary_rows
from celosia.training.text import divided, windows, written
from celosia.training.tune import coded_model, trainable

TERNARY = Scheme(weight_width=2, ternary=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_forward_pass_is_the_references(tmp_path, case):
    """All at once, as the second of a batch, and token by token."""
    model = load(case.write(tmp_path / case.name))
    exact = float32.forward(model, case.tokens)
    tensors, tokens = tensors_of(model), torch.tensor(np.array([case.tokens]))
    both = torch.cat((tokens.flip(1), tokens))
    found = forward(model.description, tensors, both)[1].numpy()
    assert relative_difference(found, exact) <= 1e-4
    cache, logits = Cache(len(case.tokens)), []
    for token in tokens.T:
        logits.append(forward(model.description, tensors, token[None], cache)[0, 0].numpy())
    assert relative_difference(np.stack(logits), exact) <= 1e-4


def test_gradients_of_states():
    """Those of the recurrence are what PyTorch finds when it is written out."""
    from celosia.training.forward import _States

    generator = torch.Generator().manual_seed(1)
    given = [torch.rand(5, 2, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    first = torch.rand(2, 3, generator=generator, dtype=torch.float64)
    inputs = [each.requires_grad_() for each in (*given, first)]
    assert torch.autograd.gradcheck(_States.apply, inputs)


@pytest.mark.parametrize(
    "scheme",
    [Scheme(lanes=2, weight_width=4), Scheme(lanes=2, weight_width=4, group=4, head_width=8)],
    ids=["rows", "groups"],
)
def test_codes_are_the_machines(tiny_config, scheme):
    """Of untrained weights they are those of rounding to the nearest; the pass computes so."""
    model = random_model(tiny_config(tied=False), seed=2)
    rounding, tensors = Rounding(model.description, scheme), tensors_of(model)
    coded = coded_model(model, tensors, rounding)
    assert len(coded.codes) == 2 * 7 + 2
    ours, plain = quantize(coded, scheme), quantize(model, scheme)
    for one, other in zip(ours.matrices, plain.matrices, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
    tokens = [1, 5, 9, 3]
    found = forward(model.description, rounding.rounded(tensors), torch.tensor([tokens]))
    assert relative_difference(found[0].numpy(), float32.forward(coded, tokens)) <= 1e-4


def test_codes_are_the_compact_machines(tiny_config):
    """What was rounded once stays so; values get the same largest magnitude, and no output other.

    Columns that values' steps multiply are left out: these steps follow the calibration.
    """
    model = compact_form(random_model(tiny_config(tied=True, head_dim=4), seed=2), 8)
    texts = [[n, *range(1, 9)] for n in range(4)]
    equal = equal_values(model, texts)
    found, wanted = (float32.forward(each, texts[1]) for each in (equal, model))
    assert relative_difference(found, wanted) <= 1e-5
    largest = np.mean([calibrate(equal, text).largest("values", 1) for text in texts], axis=0)
    assert largest.max() < 1.1 * largest.min()
    rounding = CompactRounding(equal, 8)
    coded = coded_model(equal, tensors_of(equal), rounding)
    machine, same = quantize_compact(coded, 8), []
    for index, operations in [*enumerate(machine.layers), (None, machine.end)]:
        for op in operations:
            if isinstance(op, CompactLinear) and op.name != "wo":
                same.append(op.name)
                np.testing.assert_array_equal(op.matrix.codes, coded.codes[index, op.name].codes)
    assert len(same) == 2 * 6 + 1


def test_ternary_codes_are_the_compact_machines(tiny_config):
    """All of them; and rows' scales, but for what the machine's table rounds (23 is not 45 / 2)."""
    model = compact_form(random_model(tiny_config(tied=True, head_dim=4), seed=2), 8, True)
    rounding = CompactRounding(model, 8, weight_width=8, ternary=True)
    coded = coded_model(model, tensors_of(model), rounding)
    factors = CompactRounding(coded, 8, weight_width=8, ternary=True).vectors
    machine, same = quantize_compact(coded, 8, weight_width=8, ternary=True), 0
    for index, operations in [*enumerate(machine.layers), (None, machine.end)]:
        for op in (op for op in operations if isinstance(op, CompactLinear)):
            key, found = (index, op.name), op.matrix
            np.testing.assert_array_equal(found.codes, coded.codes[key].codes)
            if index is not None:
                scale = scale_values()[found.scale] * 2.0 ** -(found.shift + op.base)
                wanted = coded.codes[key].scales[:, 0] * factors[key]
                np.testing.assert_allclose(scale, wanted, rtol=0.03)
            same += 1
    assert same == 2 * 7 + 1


def test_attention_of_windows():
    """In blocks, where a text is long beside the window: what the reference gives."""
    config = ModelConfig(8, 8, 2, 4, 2, 4, 11, 32, options={"windows": (4, 6)})
    model, tokens = random_model(config, seed=4), np.arange(29) * 7 % 11
    found = forward(model.description, tensors_of(model), torch.tensor(tokens[None]))
    assert relative_difference(found[0].numpy(), float32.forward(model, tokens)) <= 1e-4


def test_ternary_rows():
    """By the mean magnitude of each row; gradients pass."""
    weight = np.array([[1, -0.2, 0.3, -0.5], [0, 0, 0, 0], [3, 3, -3, 3]], np.float32)
    coded = ternary_rows(weight)
    np.testing.assert_array_equal(coded.codes, [[1, 0, 1, -1], [0, 0, 0, 0], [1, 1, -1, 1]])
    np.testing.assert_array_equal(coded.scales[:, 0], np.array([0.5, 0, 3], np.float32))
    model = random_model(ModelConfig(8, 8, 1, 2, 2, 4, 11, 8))
    tensors = tensors_of(model)
    wq = tensors[1]["wq"].requires_grad_()
    rounded = Rounding(model.description, Scheme(weight_width=2), True).rounded(tensors)[1]["wq"]
    np.testing.assert_array_equal(
        rounded.detach().numpy(), ternary_rows(model.layers[0]["wq"]).float32()
    )
    rounded.sum().backward()
    assert (wq.grad == 1).all()


def test_ternary_weights_of_a_fabric_without_multipliers(tmp_path):
    """Rows in the machine's form, with gains of their own; tables in the steps of their digits."""
    (case,) = (case for case in CASES if case.name == "hgrn_bit-bounds")
    model = trainable(load(case.write(tmp_path / "a")), TERNARY)
    rounding = Rounding(model.description, TERNARY, True)
    coded = coded_model(model, tensors_of(model), rounding)
    quantized = quantize(coded, TERNARY)
    matrices = {op.name: op.matrix for op in quantized.layers[1] if isinstance(op, IntegerLinear)}
    np.testing.assert_array_equal(matrices["wo"].weight, coded.codes[1, "wo"].codes)
    table = coded.codes[None, "embedding"]
    parts = digits(coded.tensors["embedding"], 1.0, TERNARY)
    places = 3 ** np.arange(len(parts))[::-1]
    sums = sum(part.weight * place for part, place in zip(parts, places, strict=True))
    np.testing.assert_array_equal(sums[:, : table.codes.shape[1]], table.codes)
    wide = Rounding(model.description, replace(TERNARY, head_width=8), True)
    assert wide.codes(tensors_of(model))[None, "embedding"].codes.max() == 127


def trained(steps=12, keep=None, until=None):
    """A small model's tensors after training towards another's, and the loss."""
    config = ModelConfig(16, 24, 2, 2, 1, 8, 31, 16)
    model, teacher = random_model(config, seed=1), random_model(config, seed=2)
    rounding = Rounding(model.description, Scheme(weight_width=3))
    tensors, seen = tensors_of(model), Windows(list(range(31)) * 3, range(40), 16, 0)

    def progress(step, _):
        if step == until:
            raise KeyboardInterrupt

    training = Training(steps, batch=2, rate=5e-3, warmup=2, seed=3, text=0.1, decay=0.1)
    rest = (teacher.description, tensors_of(teacher)), seen, training, rounding, keep, progress
    loss = distill(model.description, tensors, *rest)
    return tensors, loss


def same(one, other):
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)


def test_training_is_seeded_and_goes_on():
    """The same from the start, and from where it was interrupted; what it minimises falls."""
    states = []

    def keep(state):
        if state is None:
            return states[-1] if states else None
        tensors = [tensor.detach().clone() for tensor in state["tensors"]]
        states.append(deepcopy(state | {"tensors": tensors}))
        return None

    whole, loss = trained()
    again, _ = trained()
    assert same(whole, again)
    with pytest.raises(KeyboardInterrupt):
        trained(keep=keep, until=5)
    assert states[-1]["step"] == 5
    assert same(whole, trained(keep=keep)[0])
    assert trained(60)[1] < 0.8 * loss


def test_rates():
    training = Training(100, rate=1.0, warmup=10, last=0.1)
    assert training.rate_at(0) == pytest.approx(0.1)
    assert training.rate_at(50) == pytest.approx(0.55)
    assert training.rate_at(99) == pytest.approx(0.1, abs=1e-3)


def test_windows():
    """They begin at texts, and at the lines of long ones; the begin token comes first."""
    pieces = [b"", b"a", b"b\n", b"c"]
    seen = windows([[1, 2, 3, 1, 2, 1, 3], [3, 3]], 4, 0, pieces)
    assert seen.tokens.tolist() == [0, 1, 2, 3, 1, 2, 1, 3, 0, 3, 3]
    assert seen.starts.tolist() == [1, 3, 6]
    fed, following = seen.batch(8, 0, 0)
    assert set(map(tuple, fed.tolist())) <= {(0, 1, 2, 3), (0, 3, 1, 2), (0, 1, 3, 0)}
    np.testing.assert_array_equal(fed[:, 1:], following[:, :-1])
    assert not torch.equal(fed, seen.batch(8, 1, 0)[0])
    with pytest.raises(ValueError, match="the text is too short: 3 tokens for windows of 9"):
        windows([[1, 2]], 9, 0)


def test_divided():
    texts = [[1, 2, 3, 4, 5, 6, 7], [8, 9], [10, 11, 12]]
    assert divided(texts, 2) == ([[1, 2, 3, 4, 5, 6, 7], [8, 9], [10]], [[11, 12]])
    assert divided(texts, 99) == ([[1, 2, 3, 4, 5, 6, 7], [8, 9]], [[10, 11, 12]])
    assert divided([[1, 2], [3, 4], [5, 6], [7, 8]], 2) == ([[1, 2], [3, 4], [5, 6]], [[7, 8]])


def test_own_texts():
    """Sampled from the model's distributions, the same for a seed."""
    model = random_model(ModelConfig(8, 8, 1, 2, 2, 4, 5, 40), seed=4)
    rest = model.description, tensors_of(model), 300, 6, 2
    texts = written(*rest, 1)
    assert texts.shape == (300, 6)
    assert (texts[:, 0] == 2).all()
    assert torch.equal(texts, written(*rest, 1))
    assert not torch.equal(texts, written(*rest, 2))
    logits = float32.forward(model, [2])[0]
    seen = np.bincount(texts[:, 1], minlength=5) / 300
    np.testing.assert_allclose(seen, float32.softmax(logits), atol=0.1)


def test_a_missing_group_is_named(tiny_config):
    model = random_model(tiny_config())
    rounding = Rounding(model.description, Scheme(lanes=8, weight_width=4, group=24))
    with pytest.raises(ValueError, match="a group of 24 weights does not fit a row of 16"):
        rounding.codes(tensors_of(model))
    assert isinstance(ternary_rows(model.layers[0]["wq"]), Coded)


def test_a_model_learns_a_text(tiny_config):
    """From its beginning, without a teacher; what it loses is measured on whole windows."""
    from celosia.training.pretrain import pretrained, text_loss

    text = list(range(1, 9)) * 40
    config, seen = tiny_config(), windows([text], 16, 0)
    losses = [
        text_loss(*pretrained(config, seen, Training(steps, 4, 1e-2, warmup=2)), text, 16, 0)
        for steps in (0, 30)
    ]
    assert abs(losses[0] - np.log(config.vocab_size)) < 0.3
    assert losses[1] < 0.6 * losses[0]
    with pytest.raises(ValueError, match="the text is too short: 3 tokens for a window of 16"):
        text_loss(*pretrained(config, seen, Training(0)), text[:3], 16, 0)
