import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from celosia.rtl.stream.words import ARGUMENT_WIDTH, INDEX_WIDTH, framed, token_width


@pytest.mark.parametrize(
    ("tokens", "width"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (64, 6)]
)
def test_token_width_numbers_all_tokens(tokens, width):
    assert token_width(tokens) == width
    assert tokens <= 1 << width


def test_framed_members():
    word = framed(4, 23, 5, exponent=unsigned(5))
    assert {name: field.shape for name, field in word} == {
        "data": data.ArrayLayout(signed(23), 4),
        "token": unsigned(3),
        "index": unsigned(INDEX_WIDTH),
        "argument": unsigned(ARGUMENT_WIDTH),
        "last": 1,
        "exponent": unsigned(5),
    }


def test_data_of_any_shape():
    assert framed(2, unsigned(7))["data"].shape == data.ArrayLayout(unsigned(7), 2)
    assert framed(2, 7)["data"].shape == data.ArrayLayout(signed(7), 2)
    assert framed(1, 8) == framed(1, signed(8), 1) == framed(1, 8, 2)
    assert framed(1, 8) != framed(1, 8, 3)


def test_a_member_cannot_be_given_twice():
    with pytest.raises(ValueError, match="more must not name index: a word has it already"):
        framed(2, 8, index=4)
