"""Random shapes, not only random data: units of drawn parameters against their references.

A failure names the command that repeats it: ``python tests/test_properties.py UNIT NAME=VALUE ...``
"""

import sys

import property_quantizers
import property_units
import property_vectors
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from property_shapes import whole
from python_bench import run

UNITS = {**property_quantizers.UNITS, **property_units.UNITS, **property_vectors.UNITS}


def check(name, stall, **parameters):
    """Build the unit ``name`` and compare it with its reference."""
    component, inputs, expected, *constant = UNITS[name][0](**parameters)
    expected = [*expected]
    y = run(component, inputs, stall, parameters["seed"], *constant, n_outputs=len(expected))
    if y != expected:
        words = " ".join(f"{key}={value}" for key, value in {"stall": stall, **parameters}.items())
        pairs = enumerate(zip(y, expected, strict=False))
        place = next((n for n, (a, b) in pairs if a != b), len(y))
        command = f"python tests/test_properties.py {name} {words}"
        raise AssertionError(f"payload {place} differs; repeat with:\n    {command}")


def examples(name, n):
    """Check ``n`` drawn shapes of the unit ``name``, the same ones on every run."""

    @settings(
        max_examples=n,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(
        st.fixed_dictionaries(
            {"stall": st.sampled_from([0.0, 0.5]), "seed": whole(0, 999), **UNITS[name][1]}
        )
    )
    def drawn(parameters):
        check(name, **parameters)

    drawn()


@pytest.mark.parametrize("name", [*UNITS])
def test_drawn_shapes(name):
    examples(name, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*UNITS])
def test_many_drawn_shapes(name):
    examples(name, 60)


def test_a_failure_names_its_command(monkeypatch):
    def faulty(width, seed):
        component, inputs, expected = property_vectors.reciprocal(width, seed)
        return component, inputs, [*expected[:-1], expected[0]]

    monkeypatch.setitem(UNITS, "reciprocal", (faulty, UNITS["reciprocal"][1]))
    with pytest.raises(AssertionError, match="payload 61 differs") as failure:
        check("reciprocal", 0.5, width=9, seed=3)
    words = str(failure.value).split()
    arguments = words[words.index("tests/test_properties.py") + 1 :]
    assert arguments == ["reciprocal", "stall=0.5", "width=9", "seed=3"]
    with pytest.raises(AssertionError, match="payload 61 differs"):
        main(arguments)
    monkeypatch.undo()
    main(arguments)


def main(arguments):
    """``UNIT NAME=VALUE ...``: one case."""
    values = dict(text.split("=") for text in arguments[1:])
    known = {"True": True, "False": False}
    parameters = {
        key: known[text] if text in known else float(text) if key == "stall" else int(text)
        for key, text in values.items()
    }
    check(arguments[0], **parameters)
    print(f"{arguments[0]} agrees with its reference")


if __name__ == "__main__":
    main(sys.argv[1:])
