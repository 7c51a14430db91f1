"""The float32 reference against the logits that `transformers` computed (tests/families)."""

import numpy as np
import pytest
from celosia.reference import checkpoint, float32
from families.case import POSITIONS
from families.cases import CASES, EXPECTED, expected, relative_difference

#: Families, or single cases of one, that no loader reads yet. Removing a name turns its test on.
NOT_YET = set()


def supported(case):
    """Whether the loaders read the case."""
    return case.family not in NOT_YET and case.name not in NOT_YET


def by_name(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@by_name([case for case in CASES if supported(case)])
def test_logits_are_those_of_transformers(case, tmp_path):
    model = checkpoint.load(case.write(tmp_path / case.name))
    ours = float32.forward(model, case.tokens)
    assert relative_difference(ours, expected(case)) <= 1e-4


@by_name([case for case in CASES if not supported(case)])
def test_what_is_not_supported_is_refused(case, tmp_path):
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.load(case.write(tmp_path / case.name))


def test_not_yet_names_families_and_cases():
    assert {case.family for case in CASES} | {case.name for case in CASES} >= NOT_YET


@by_name(CASES)
def test_expected_logits_belong_to_the_case(case):
    fields = case.config.get("text_config", case.config)
    shape = (POSITIONS, fields["vocab_size"])
    for activations in ("float", "int8"):
        logits = expected(case, activations)
        assert logits.shape == shape
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()
        assert np.ptp(logits, axis=1).min() > 1


def test_every_expected_file_has_its_case():
    assert {path.stem for path in EXPECTED.iterdir()} == {case.name for case in CASES}


def test_values_come_from_stable_bits():
    """The first values of a case, so that another NumPy cannot change all of them unseen."""
    case = CASES[0]
    np.testing.assert_array_equal(case.tokens[:6], [12, 40, 14, 12, 31, 40])
    first = case.tensors["model.embed_tokens.weight"][0, :3]
    np.testing.assert_array_equal(first, np.float32([-1.4717519, -0.9536816, -0.5993581]))
