import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from celosia.rtl.stream.queue import Queue
from celosia.sim import bench


@pytest.mark.parametrize("depth", [2, 16])
def test_passes_everything_on(depth):
    x = [n * 37 % 200 - 100 for n in range(300)]
    cases = [
        {"inputs": {"i": x}, "counts": len(x), "stall": stall, "seed": seed}
        for stall in (0.0, 0.3, 0.7, 0.9)
        for seed in (2, 3)
    ]
    results = bench.run_many(Queue(signed(8), depth), cases)
    assert [result.outputs["o"] for result in results] == [x] * len(cases)


def test_latency_and_throughput():
    result = bench.run(Queue(8, 4), {"i": list(range(100))}, 100)
    assert (result.latency, result.cycles) == (1, 101)


class Filling(wiring.Component):
    """A queue that is offered payloads until it is nearly full, and 2 more; how many it holds."""

    def __init__(self, spare):
        self.queue = Queue(8, 8, spare=spare)
        super().__init__({"held": Out(8), "lost": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        late, later = Signal(), Signal()  # an offer is two cycles behind its decision
        m.d.sync += [late.eq(~queue.nearly_full), later.eq(late)]
        m.d.comb += queue.i.valid.eq(later)
        m.d.sync += self.held.eq(self.held + (queue.i.valid & queue.i.ready))
        with m.If(queue.i.valid & ~queue.i.ready):
            m.d.sync += self.lost.eq(1)
        return m


@pytest.mark.parametrize(("spare", "lost"), [(2, 0), (1, 1)])
def test_nearly_full_leaves_room_for_what_is_under_way(spare, lost):
    signals = bench.run(Filling(spare), after=30).signals
    assert signals == {"held": 8, "lost": lost}


@pytest.mark.parametrize("spare", [0, 8])
def test_spare(spare):
    with pytest.raises(ValueError, match="spare must be from 1 to 7"):
        Queue(8, 8, spare=spare)


@pytest.mark.parametrize("depth", [1, 3, 128])
def test_depth(depth):
    with pytest.raises(ValueError, match="depth must be"):
        Queue(8, depth)
