from amaranth.hdl import Shape
from celosia.rtl.machine.step import (
    BUFFERS,
    WORD_MEMBERS,
    Operand,
    Region,
    Resource,
    Scalar,
    Source,
    argument,
    argument_layout,
    fetch_layout,
    operation_layout,
    scales_layout,
    step_layout,
)
from celosia.rtl.memory.tape import run_layout
from celosia.sim.payload import decode, encode


def shapes(layout):
    return {name: field.shape for name, field in layout}


def test_parts_of_a_step_are_as_wide_as_in_the_step():
    step = shapes(step_layout())
    parts = [shapes(fetch_layout()), shapes(operation_layout(4)), shapes(scales_layout())]
    assert parts[2].pop("address") == step["scale_address"]
    for part in parts:
        own = {"buffer", "row", "first", "group", "lane", "single", "steps", "sums"}
        assert {name: shape for name, shape in part.items() if name not in own}.items() <= (
            step.items()
        )
    assert shapes(run_layout())["address"] == step["address"]


def test_every_member_of_every_enumeration_has_a_place():
    for members, field in ((Scalar, "scalar"), (Operand, "operand"), (Source, "source")):
        assert shapes(step_layout())[field] is members
        assert max(m.value for m in members) < 1 << Shape.cast(members).width
        assert len({m.value for m in members}) == len(members)
    assert [r.value for r in Region] == [0, 1, 2, 3]


def test_a_resource_for_each_cache_and_buffer():
    width = Shape.cast(Resource).width
    assert [r.value for r in Resource] == [1 << n for n in range(width)]
    scores = [r for r in Resource if r.name.startswith("SCORES")]
    assert [r.name for r in scores] == [f"SCORES{n}" for n in range(BUFFERS)]
    for field in ("waits", "sets"):
        assert shapes(step_layout())[field].width == width
    assert 1 << shapes(fetch_layout())["buffer"].width == BUFFERS


def test_a_scalar_is_one_bit():
    assert [s.value for s in Scalar] == [0, *(1 << n for n in range(len(Scalar) - 1))]


def test_arguments():
    assert argument(shift=200) == 200
    assert argument(layer=3) == 3
    assert argument(buffer=2) == 2
    assert argument(head={"is_key": 1, "layer": 5}) == 11
    assert argument_layout().size == shapes(step_layout())["argument"].width


def test_layouts_of_a_machine_have_what_its_units_ask_for():
    few = {"keep": WORD_MEMBERS["keep"]}
    for layout, own in (
        (step_layout(5, few), {"last_token"}),
        (operation_layout(2, 5, few), set()),
    ):
        assert shapes(layout).keys() & WORD_MEMBERS.keys() == {"keep"} | own
        assert Shape.cast(shapes(layout)["route"]).width == 3


def test_a_step_there_and_back():
    layout = step_layout()
    zero = decode(layout, 0)
    ones = decode(layout, (1 << layout.size) - 1)
    assert encode(layout, zero) == 0
    assert encode(layout, ones) == (1 << layout.size) - 1
    assert (ones["shift"], ones["address"], ones["words"]) == (-1, (1 << 28) - 1, (1 << 20) - 1)


def test_tokens_of_an_operation():
    for tokens, width in ((1, 1), (4, 2), (8, 3)):
        layout = shapes(operation_layout(tokens))
        assert layout["first"].width == layout["group"].width == width
