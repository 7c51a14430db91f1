import time

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.generators.verilog import to_verilog
from celosia.sim.native import NativeSimulation

SIZE = 8


class Square(wiring.Component):
    """An 8 x 8 array of MACs that is fed one byte at a time.

    A byte ``x`` moves into the first column and the columns move on by one; each cell adds the
    product of its column's and its row's value, rows being fed by the columns' end. Every
    eighth byte is answered by the low byte of the sum over the diagonal.
    """

    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))
    cells: Out(stream.Signature(data.ArrayLayout(signed(32), SIZE * SIZE), always_ready=True))
    deep__bit: Out(stream.Signature(1, always_ready=True))
    activity: Out(3)

    def elaborate(self, platform):
        m = Module()
        rows = [Signal(signed(8), name=f"row_{i}") for i in range(SIZE)]
        columns = [Signal(signed(8), name=f"column_{i}") for i in range(SIZE)]
        cells = [Signal(signed(32), name=f"cell_{i}") for i in range(SIZE * SIZE)]
        count = Signal(3)
        take = Signal()
        m.d.comb += [
            self.rx.ready.eq(~self.tx.valid | self.tx.ready),
            take.eq(self.rx.valid & self.rx.ready),
            self.cells.payload.as_value().eq(Cat(cells)),
            self.deep__bit.payload.eq(count[0]),
            self.deep__bit.valid.eq(take),
            self.activity.eq(count),
        ]
        with m.If(self.tx.ready):
            m.d.sync += self.tx.valid.eq(0)
        m.d.sync += self.cells.valid.eq(0)
        with m.If(take):
            m.d.sync += count.eq(count + 1)
            m.d.sync += Cat(columns).eq(Cat(self.rx.payload, *columns[:-1]))
            m.d.sync += Cat(rows).eq(Cat(columns[-1], *rows[:-1]))
            for index, cell in enumerate(cells):
                m.d.sync += cell.eq(cell + rows[index // SIZE] * columns[index % SIZE])
            with m.If(count == 7):
                m.d.sync += self.tx.valid.eq(1)
                m.d.sync += self.tx.payload.eq(sum(cells[i * (SIZE + 1)] for i in range(SIZE)))
                m.d.sync += self.cells.valid.eq(1)
        return m


def square(text):
    """What :class:`Square` answers to bytes, and its cells at each answer."""
    rows, columns = np.zeros(SIZE, np.int64), np.zeros(SIZE, np.int64)
    cells = np.zeros((SIZE, SIZE), np.int64)
    answers, seen = [], []
    for index, byte in enumerate(np.frombuffer(text, np.int8)):
        answers.append(np.trace(cells) & 0xFF)
        cells = cells + np.outer(rows, columns)
        rows = np.append(columns[-1], rows[:-1])
        columns = np.append(byte, columns[:-1])
        if index % 8 == 7:
            seen.append(cells.reshape(-1))
    return bytes(int(a) for a in answers[7::8]), np.array(seen)


@pytest.fixture(scope="module")
def verilog():
    return to_verilog(Square())


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


def test_bytes_through_the_chip(verilog):
    text = noise(800)
    answers, _ = square(text)
    with NativeSimulation(verilog) as chip:
        chip.send(text)
        assert chip.unsent == 800
        assert chip.step(10**6, until_tx=1) == chip.cycle == 9
        assert chip.received() == answers[:1]
        assert chip.step(10**6, until_tx=99) == 99 * 8
        assert chip.unsent == 0
        rest, cycles = chip.received_with_cycles()
        assert rest == answers[1:]
        assert cycles.tolist() == [*range(16, 801, 8)]
        assert chip.received() == b""
        assert chip.step(1000) == 1000


def test_bytes_that_wait_end_the_step(verilog):
    with NativeSimulation(verilog) as chip:
        chip.send(noise(80))
        assert chip.step(200, until_tx=None) == 200
        assert chip.step(100, until_tx=10) == 0
        assert chip.step(100, until_tx=11) == 100


def test_taps(verilog):
    text = noise(80)
    _, cells = square(text)
    with NativeSimulation(verilog) as chip:
        assert chip.widths == {"cells": 32 * SIZE * SIZE, "deep__bit": 1}
        chip.send(text)
        chip.step(10**4, until_tx=10)
        cycles, payload = chip.taps("cells")
        assert cycles.dtype == np.uint64
        assert cycles.tolist() == [*range(8, 81, 8)]
        assert payload.shape == (10, 4 * SIZE * SIZE)
        np.testing.assert_array_equal(payload.view(np.int32), cells)
        assert chip.taps("deep__bit")[1].ravel().tolist() == [0, 1] * 40
        chip.forget()
        assert chip.taps("cells")[1].shape == (0, 4 * SIZE * SIZE)
        chip.record(taps=False)
        chip.send(text)
        chip.step(10**4, until_tx=20)
        assert len(chip.taps("cells")[0]) == 0


def test_activity_is_recorded_when_it_changes(verilog):
    with NativeSimulation(verilog, taps=[]) as chip:
        assert chip.widths == {}
        chip.step(5, until_tx=None)
        chip.record(activity=True)
        chip.step(5, until_tx=None)
        chip.send(b"abc")
        chip.step(20, until_tx=None)
        cycles, values = chip.activity()
        assert cycles.tolist() == [5, 11, 12, 13]
        assert values.tolist() == [[0], [1], [2], [3]]


def test_reset_starts_again(verilog):
    text = noise(16)
    with NativeSimulation(verilog) as chip, NativeSimulation(verilog) as other:
        chip.send(text + b"forgotten")
        chip.step(100, until_tx=2)
        first = chip.received()
        chip.reset()
        assert (chip.cycle, chip.unsent, other.cycle) == (0, 0, 0)
        assert len(chip.taps("cells")[0]) == 0
        chip.send(text)
        chip.step(100, until_tx=2)
        assert chip.received() == first == square(text)[0]


def test_speed(verilog):
    with NativeSimulation(verilog) as chip:
        chip.send(noise(400_000))
        chip.step(1000, until_tx=None)
        begin = time.perf_counter()
        chip.step(300_000, until_tx=None)
        rate = 300_000 / (time.perf_counter() - begin)
    print(f"{rate:,.0f} cycles per second")
    assert rate > 20_000


@pytest.mark.slow
def test_waves(verilog, tmp_path):
    path = tmp_path / "square.vcd"
    with NativeSimulation(verilog, waves=path) as chip:
        chip.send(b"x")
        chip.step(10)
    assert "column_0" in path.read_text()


def test_bad_arguments(verilog):
    with pytest.raises(ValueError, match=r"taps must be among \['cells', 'deep__bit'\], not 'x'"):
        NativeSimulation(verilog, taps=["x"])
    with pytest.raises(ValueError, match="the top module must have a port called rx__valid"):
        NativeSimulation(verilog.replace("rx__valid", "rx__wrong"))
    with pytest.raises(ValueError, match="the Verilog must have a module called top"):
        NativeSimulation("module chip(); endmodule\n")
    plain = verilog.replace("activity", "inactivity")
    with (
        NativeSimulation(plain) as chip,
        pytest.raises(ValueError, match="the top module has no output called activity"),
    ):
        chip.record(activity=True)


class Lookup(wiring.Component):
    """Answers a byte by one of two memories, by turns; the first one is called ``name``."""

    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))

    def __init__(self, name="deep"):
        super().__init__()
        self.name = name

    def elaborate(self, platform):
        m = Module()
        words = [pow(3, n, 1 << 37) for n in range(256)]
        deep = m.submodules[self.name] = Memory(shape=37, depth=256, init=words)
        flat = m.submodules.flat = Memory(shape=8, depth=256, init=range(255, -1, -1))
        reads = [each.read_port(domain="comb") for each in (deep, flat)]
        turn = Signal()
        m.d.comb += [
            self.rx.ready.eq(self.tx.ready),
            self.tx.valid.eq(self.rx.valid),
            *(read.addr.eq(self.rx.payload) for read in reads),
            self.tx.payload.eq(reads[0].data[29:37]),
        ]
        with m.If(turn):
            m.d.comb += self.tx.payload.eq(reads[1].data)
        m.d.sync += turn.eq(turn ^ (self.rx.valid & self.rx.ready))
        return m


@pytest.mark.parametrize("name", ["deep", "deep.words"])  # Verilog escapes the second
def test_contents_of_memories_in_files(tmp_path, name):
    """Large memories are read from files, of which the text knows the names alone."""
    text = to_verilog(Lookup(name), folder=tmp_path, file_bits=256 * 37 - 1)
    assert ("\\deep" in text) == ("." in name)
    (tmp_path / "top.v").write_text(text)
    assert text.count("$readmemh") == text.count('$readmemh("memory0.hex"') == 1
    assert len((tmp_path / "memory0.hex").read_text().split()) == 256
    assert "$readmemh" not in to_verilog(Lookup())
    sent = bytes([7, 0, 255, 254, 31, 9])
    expected = bytes(255 - x if n % 2 else pow(3, x, 1 << 37) >> 29 for n, x in enumerate(sent))
    with NativeSimulation(tmp_path, optimise="-O0") as simulation:
        simulation.send(sent)
        simulation.step(100, len(sent))
        assert simulation.received() == expected
