import random

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.sim import bench, toolchain
from celosia.sim.payload import decode, encode


class Colour(enum.Enum, shape=unsigned(3)):
    RED = 1
    BLUE = 6


class Pixel(data.Struct):
    colour: Colour
    depth: signed(5)
    lanes: data.ArrayLayout(signed(3), 3)


class Copy(wiring.Component):
    """One register stage between two streams of any shape."""

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.o.ready | ~self.o.valid):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += self.o.valid.eq(self.i.valid)
            m.d.sync += Cat(self.o.payload).eq(Cat(self.i.payload))
        return m


class Affine(wiring.Component):
    """``i * factor + offset``, combinational, with a count of payloads."""

    i: In(stream.Signature(signed(8)))
    o: Out(stream.Signature(signed(20)))
    factor: In(signed(8), init=1)
    offset: In(signed(8))
    taken: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.o.payload.eq(self.i.payload * self.factor + self.offset),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self.taken.eq(self.taken + 1)
        return m


class Routes(wiring.Component):
    """Adds two streams into one output, and copies the first into another of two lanes."""

    a: In(stream.Signature(8))
    b: In(stream.Signature(8))
    out: Out(
        wiring.Signature(
            {
                "total": Out(stream.Signature(9)),
                "lanes": Out(stream.Signature(8, always_ready=True)).array(2),
            }
        )
    )

    def elaborate(self, platform):
        m = Module()
        take = Signal()
        total = self.out.total
        m.d.comb += [
            total.payload.eq(self.a.payload + self.b.payload),
            total.valid.eq(self.a.valid & self.b.valid),
            take.eq(total.valid & total.ready),
            self.a.ready.eq(take),
            self.b.ready.eq(take),
            self.out.lanes[1].payload.eq(self.a.payload),
            self.out.lanes[1].valid.eq(take),
        ]
        return m


class Sin(enum.Enum, shape=3):
    NONE = 0
    WITHDRAWS = 1
    CHANGES = 2
    WAITS_FOR_READY = 3
    HANGS = 4
    REPEATS_THE_LAST = 5
    REPEATS_LATER = 6
    NEVER_TAKES = 7


class Rogue(wiring.Component):
    """Copies a stream, except that it breaks one rule."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    sin: In(Sin)

    def elaborate(self, platform):
        m = Module()
        clock = Signal(8)
        taken = Signal(8)
        valid = Signal()
        m.d.sync += clock.eq(clock + 1)
        m.d.sync += taken.eq(taken + (self.o.valid & self.o.ready))
        with m.Switch(self.sin):
            for sin, offered in [
                (Sin.WITHDRAWS, self.i.valid & (clock[:2] != 3)),
                (Sin.WAITS_FOR_READY, self.i.valid & self.o.ready),
                (Sin.HANGS, self.i.valid & (taken < 5)),
                (Sin.REPEATS_THE_LAST, self.i.valid | (taken == 20)),
                (Sin.REPEATS_LATER, self.i.valid | (clock == 30)),
                (Sin.NEVER_TAKES, 1),
            ]:
                with m.Case(sin):
                    m.d.comb += valid.eq(offered)
            with m.Default():
                m.d.comb += valid.eq(self.i.valid)
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.payload.eq(Mux(self.sin == Sin.CHANGES, clock, self.i.payload)),
            self.i.ready.eq(valid & self.o.ready & (self.sin != Sin.NEVER_TAKES)),
        ]
        return m


class Recall(wiring.Component):
    """Looks constants up in a memory: one cycle, no back pressure on its input."""

    i: In(stream.Signature(2, always_ready=True))
    o: Out(stream.Signature(8, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Memory(shape=8, depth=4, init=[3, 1, 4, 1])
        port = table.read_port()
        m.d.comb += port.addr.eq(self.i.payload)
        m.d.comb += self.o.payload.eq(port.data)
        m.d.sync += self.o.valid.eq(self.i.valid)
        return m


class Average(wiring.Component):
    """Sum of two neighbours of a steady signal, another steady signal."""

    i: In(stream.Signature(8, always_valid=True, always_ready=True))
    o: Out(stream.Signature(9, always_valid=True, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        last = Signal(8)
        m.d.sync += last.eq(self.i.payload)
        m.d.comb += self.o.payload.eq(self.i.payload + last)
        return m


SHAPES = [
    (signed(8), [-128, 127, 0, -1]),
    (unsigned(1), [0, 1, 1, 0]),
    (signed(1), [0, -1]),
    (Colour, [1, 6]),
    (signed(300), [-(2**299), 2**299 - 1, 12345678901234567890]),
    (Pixel, [{"colour": 6, "depth": -16, "lanes": [-4, 3, 0]}]),
    (data.ArrayLayout(signed(8), 64), [[*range(-32, 32)], [-128] * 64]),
    (data.ArrayLayout(data.ArrayLayout(unsigned(4), 2), 3), [[[1, 2], [3, 4], [15, 0]]]),
    (data.ArrayLayout(Pixel, 2), [[{"colour": 1, "depth": d, "lanes": [d] * 3} for d in (1, -2)]]),
]


@pytest.mark.parametrize(("shape", "values"), SHAPES)
def test_payloads_there_and_back(shape, values):
    for value in values:
        bits = encode(shape, value)
        assert 0 <= bits < 2 ** Shape.cast(shape).width
        assert decode(shape, bits) == value


@pytest.mark.parametrize("lanes", [3, 64])
def test_arrays_as_the_hardware_sees_them(lanes):
    shape = data.ArrayLayout(signed(16), lanes)
    values = np.arange(lanes) * 500 - 16000
    constant = shape.const([int(v) for v in values])
    assert encode(shape, values) == constant.as_bits()
    assert encode(shape, constant) == constant.as_bits()


def test_members_of_enumerations_and_unions():
    assert encode(Colour, Colour.BLUE) == 6
    assert encode(data.ArrayLayout(Colour, 2), [Colour.RED, Colour.BLUE]) == 0b110001
    union = data.UnionLayout({"byte": 8, "signed": signed(4)})
    assert encode(union, {"signed": -1}) == 15
    assert decode(union, 15) == {"byte": 15, "signed": -1}


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        (signed(8), 128, r"a payload of signed\(8\) must be from -128 to 127, not 128"),
        (signed(8), -129, r"a payload of signed\(8\) must be from -128 to 127, not -129"),
        (8, -1, r"a payload of unsigned\(8\) must be from 0 to 255, not -1"),
        (8, 1.5, "a payload must be a whole number, not 1.5"),
        (data.ArrayLayout(8, 2), [1], "a payload needs 2 elements, not 1"),
        (data.ArrayLayout(signed(8), 8), [0] * 7 + [128], "must be from -128 to 127, not 128"),
        (Pixel, {"depth": 1}, "a payload needs the fields .*, not .*"),
        (data.UnionLayout({"a": 1}), {"b": 1}, "a union payload needs one of .*, not .*"),
    ],
)
def test_payloads_that_do_not_fit(shape, value, message):
    with pytest.raises(ValueError, match=message):
        encode(shape, value)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("shape", "values"), [SHAPES[4], SHAPES[5], SHAPES[6]])
def test_copies_any_shape(shape, values, stall):
    y, cycles = bench.run(Copy(shape), values * 5, stall=stall, seed=1)
    assert y == values * 5
    assert cycles > len(y) if stall else cycles == len(y) + 1


def test_latency_and_throughput():
    result = bench.run(Copy(8), range(100))
    assert (result.latency, result.cycles) == (1, 101)
    assert result.stream_cycles == {"i": [*range(100)], "o": [*range(1, 101)]}
    assert result.first_cycle == {"i": 0, "o": 1}
    assert result.last_cycle == {"i": 99, "o": 100}
    comb = bench.run(Affine(), range(100))
    assert (comb.latency, comb.cycles) == (0, 100)


def test_stalls_are_seeded_and_their_own_for_every_stream():
    def cycles(seed):
        cases = [{"inputs": {"a": a, "b": a}, "counts": counts, "stall": 0.6, "seed": seed}]
        return bench.run_many(Routes(), cases)[0].stream_cycles

    a = [*range(50)]
    counts = {"out.total": 50, "out.lanes.0": None, "out.lanes.1": 50}
    first = cycles(1)
    assert first == cycles(1)
    assert first != cycles(2)
    assert first["a"] == first["b"] == first["out.total"]
    assert first["a"][-1] > 1.5 * 50 / (1 - 0.6)


def test_settings_and_signals():
    x = [*range(-128, 128, 5)]
    settings = {"factor": -7, "offset": 100}
    result = bench.run(Affine(), x, settings=settings, stall=0.3)
    assert result.outputs["o"] == [-7 * v + 100 for v in x]
    assert result.signals == {"taken": len(x)}
    assert bench.run(Affine(), x).outputs["o"] == x


@pytest.mark.parametrize("stall", [0.0, 0.7])
def test_several_streams_nested_and_in_arrays(stall):
    a, b = [*range(0, 250, 5)], [*range(50)]
    counts = {"out.total": 50, "out.lanes.0": 0, "out.lanes.1": None}
    result = bench.run(Routes(), {"a": a, "b": b}, counts, stall=stall)
    assert result.outputs["out.total"] == [x + y for x, y in zip(a, b, strict=True)]
    assert result.outputs["out.lanes.1"] == a
    assert result.outputs["out.lanes.0"] == []


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_streams_without_back_pressure(stall):
    assert bench.run(Recall(), [0, 2, 1, 2], stall=stall).outputs["o"] == [3, 4, 1, 4]
    y, cycles = bench.run(Average(), [1, 5, 10], 3, stall=stall)
    assert (y, cycles) == ([1, 6, 15], 3)


def test_many_runs_start_from_reset():
    chooser = random.Random(5)
    cases = [
        {
            "inputs": [chooser.randrange(-128, 128) for _ in range(chooser.randrange(40))],
            "settings": {"factor": chooser.randrange(-128, 128)},
            "stall": chooser.choice([0, 0.5]),
            "seed": seed,
        }
        for seed in range(25)
    ]
    for case, result in zip(cases, bench.run_many(Affine(), cases), strict=True):
        assert result.outputs["o"] == [x * case["settings"]["factor"] for x in case["inputs"]]
        assert result.signals["taken"] == len(case["inputs"])


@pytest.mark.parametrize(
    ("sin", "stall", "message"),
    [
        (Sin.WITHDRAWS, 0.5, r"Rogue: o: an offer was withdrawn in cycle \d+"),
        (Sin.CHANGES, 0.5, r"o: an offer was changed in cycle \d+, from 0x\w+ to 0x\w+"),
        (Sin.WAITS_FOR_READY, 0.5, r"deadlock(.|\n)*o gave \d+ of 20 payloads"),
        (Sin.HANGS, 0.0, r"deadlock, nothing moves since cycle 4; waiting:\n  i took 5 of 20"),
        (Sin.HANGS, 0.5, r"i took 5 of 20 payloads\n  o gave 5 of 20 payloads"),
        (Sin.REPEATS_THE_LAST, 0.0, r"o: one payload too many after 20, 0x\w+ in cycle 20"),
        (Sin.REPEATS_THE_LAST, 0.5, r"o: one payload too many after 20, 0x\w+ in cycle"),
        (Sin.REPEATS_LATER, 0.0, r"o: one payload too many after 20, 0x\w+ in cycle \d+"),
        (Sin.NEVER_TAKES, 0.0, r"o: one payload too many after 20, 0x0 in cycle 20"),
    ],
)
def test_broken_rules_are_found(sin, stall, message):
    with pytest.raises(bench.BenchFailure, match=message):
        bench.run(Rogue(), range(20), stall=stall, seed=3, settings={"sin": sin})


def test_the_failing_case_is_named():
    settings = {"sin": Sin.HANGS}
    cases = [{"inputs": range(n), "settings": settings} for n in (3, 9)]
    with pytest.raises(bench.BenchFailure, match=r"Rogue \(case 1\): deadlock"):
        bench.run_many(Rogue(), cases)


def test_honest_rogue_passes():
    assert bench.run(Rogue(), range(20), stall=0.5, seed=3).outputs["o"] == [*range(20)]


def test_too_slow():
    with pytest.raises(bench.BenchFailure, match="not done after 50 cycles"):
        bench.run(Copy(8), range(100), max_cycles=50)
    assert bench.run(Copy(8), range(49), max_cycles=50).cycles == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": [1], "stall": 1}, "stall must be from 0 to less than 1, not 1"),
        ({"inputs": {"x": [1]}}, r"inputs must be among \['a', 'b'\], not 'x'"),
        ({"inputs": [1]}, r"inputs must be a dict by the streams \['a', 'b'\]"),
        ({"inputs": {"a": [1], "b": [1, 2]}}, "counts must be given: the inputs have unequal"),
        ({"inputs": {}, "counts": {"out.total": 1}}, "counts must name every output stream of"),
        ({"inputs": {}, "counts": {"o": 1}}, "counts must be among .*, not 'o'"),
        ({"inputs": {}, "settings": {"o": 1}}, r"settings must be among \[\], not 'o'"),
    ],
)
def test_bad_arguments(arguments, message):
    component = Routes()
    component._MustUse__silence = True
    with pytest.raises(ValueError, match=message):
        bench.run(component, **arguments)


def test_own_program():
    answer = bench.run_program(Affine(), "bench_program", {"x": [1, -2], "factor": 3})
    assert answer == [3, -6]


def test_own_program_that_fails():
    with pytest.raises(bench.BenchFailure, match=r"bench_program failed on Affine(.|\n)*KeyError"):
        bench.run_program(Affine(), "bench_program", {})


@pytest.mark.slow
def test_waves(tmp_path):
    path = tmp_path / "affine.vcd"
    bench.run(Affine(), [1, 2], waves=path)
    assert "i__payload" in path.read_text()


def test_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(toolchain.ToolError, match="named by CXX is not there: no-such-compiler"):
        toolchain.find.__wrapped__()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(toolchain.ToolError, match=r"needs a C\+\+ compiler: install g\+\+"):
        toolchain.find.__wrapped__()


def test_failing_compiler_tells_why(tmp_path):
    (tmp_path / "x.cpp").write_text("int main() { return nothing; }")
    with pytest.raises(toolchain.ToolError, match="nothing"):
        toolchain.find().compile(tmp_path, ["x.cpp"])
