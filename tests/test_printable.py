"""Texts from files and users as a terminal may have them."""

import pytest

from celosia.printable import printable, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("café \u6f22\u3000\U0001f642\u200d", "café \u6f22\u3000\U0001f642\u200d"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nb\tc\r", "a\nb\\tc\\r"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("\udcff\ud800", "\\udcff\\ud800"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text, expected):
    assert printable(text, keep="\n") == expected
    assert printable(text) == expected.replace("\n", "\\n")


def test_long_texts_are_cut():
    assert printable("x" * 10, 10) == "x" * 10
    assert printable("x" * 50 + "y" * 50, 20) == "x" * 9 + "..." + "y" * 8


def test_values_are_short():
    assert len(shown("x" * 10**6)) < 70
    assert len(shown([["x" * 99] * 99] * 99)) <= 100
