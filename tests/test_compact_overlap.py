"""Which of the compact machine's instructions begin before the last results are written."""

import pytest
from celosia.generators.compact.overlap import overlapped
from celosia.rtl.compact.operation import A, B, Control, Group, Instruction, Measure, Step, Stride

WIDE, HALF, BYTE = ({"control": Control(**{name: True})} for name in ("wide", "half", "byte"))
DOT = {"a": A.PRODUCT, "b": B.SCALE}


def soon(one, *others, columns=4, loop=0):
    """Whether the second instruction of a program may come before the first is written."""
    return overlapped([Instruction(**one), *(Instruction(**o) for o in others)], loop, columns)[
        0
    ].soon


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (WIDE | {"count": 9, "target": 5}, {"source": 10}, True),
        (WIDE | {"count": 9, "target": 5}, {"source": 12}, False),
        (WIDE | {"count": 9, "target": 5}, {"source": 13}, False),
        (WIDE | {"count": 9, "target": 5}, {"source": 14}, True),
        (WIDE | {"count": 1, "target": 5}, {"source": 5}, False),
        (HALF | {"count": 9, "target": 5}, {"source": 13}, True),
        (HALF | {"count": 9, "target": 5}, {"second": 12}, False),
        (HALF | {"count": 9, "target": 5}, {"second": 11}, True),
        (HALF | {"count": 9, "target": 5}, {"second": 11, "control": Control(b_next=True)}, False),
        (HALF | {"count": 9, "target": 5}, {"second": 12, "control": Control(b=B.GAIN)}, True),
        (BYTE | {"count": 9}, {"control": Control(**DOT)}, False),
        (BYTE | {"count": 10}, {"control": Control(**DOT)}, True),
        (BYTE | {"count": 64, "target": 64}, {"control": Control(**DOT), "vector": 31}, False),
        (WIDE | {"count": 9, "target": 5}, {"source": 13, "control": Control(a=A.EMBEDDING)}, True),
        (WIDE | {"count": 9}, {"source": 40, "control": Control(measure=Measure.EIGHT)}, False),
    ],
)
def test_what_is_read_first(one, other, expected):
    assert (
        soon(one, {"control": Control(), "count": 4, "source": 90, "second": 90} | other)
        is expected
    )


def test_how_results_and_operands_are_spaced():
    reads = {"control": Control(step=Step.SECOND), "count": 4}
    turned = {"control": Control(wide=True, group=Group.TWO), "count": 16, "target": 10}
    assert not soon(turned, reads | {"source": 14})  # its second one is the seventh result
    assert soon(turned, reads | {"source": 18})
    apart = {"control": Control(wide=True, stride=Stride.FOUR), "count": 4, "target": 10}
    assert not soon(apart, reads | {"source": 22})
    assert soon(apart, reads | {"source": 19})
    total = {"control": Control(wide=True, group=Group.ALL), "count": 16, "target": 10}
    assert not soon(total, reads | {"source": 10})
    assert soon(total, reads | {"source": 11})


def test_as_many_as_there_are_positions():
    some = {"control": Control(wide=True, each=True), "count": 64}
    assert soon(some, {"control": Control(), "count": 4})
    assert not soon(some, {"control": Control(), "count": 4, "source": 1})


def test_cached_bytes_and_both_ends_of_a_layer():
    key, dot = {"control": Control(key=True), "count": 8}, Control(cache=True, **DOT)
    assert not soon(key, {"control": dot, "count": 8})
    plain = {"control": Control(), "count": 8}
    assert soon(key, plain)
    loop = {"control": Control(wide=True, loop=True), "count": 8, "target": 40}
    assert soon(loop, plain | {"source": 60})
    assert not soon(loop, plain | {"source": 46})
    far = [Instruction(**plain, source=46), Instruction(**loop), Instruction(**plain, source=60)]
    assert [one.soon for one in overlapped(far, 0, 4)] == [True, False, False]
