"""The AXI4 masters' signals, by the specification's widths and directions; and pins joined."""

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.memory.axi_port import ADDRESS_WIDTH, axi_read_port, axi_write_port, join_pins
from python_bench import simulate

ADDRESS = {
    "id": 1, "addr": ADDRESS_WIDTH, "len": 8, "size": 3, "burst": 2, "cache": 4, "prot": 3,
    "valid": 1,
}  # fmt: skip


@pytest.mark.parametrize("data_width", [32, 512])
def test_members(data_width):
    read, write = axi_read_port(data_width), axi_write_port(data_width)
    out = {f"ar{name}": width for name, width in ADDRESS.items()} | {"rready": 1}
    back = {"arready": 1, "rid": 1, "rdata": data_width, "rresp": 2, "rlast": 1, "rvalid": 1}
    assert read == {n: Out(w) for n, w in out.items()} | {n: In(w) for n, w in back.items()}
    out = {f"aw{name}": width for name, width in ADDRESS.items()}
    out |= {"wdata": data_width, "wstrb": data_width // 8, "wlast": 1, "wvalid": 1, "bready": 1}
    back = {"awready": 1, "wready": 1, "bid": 1, "bresp": 2, "bvalid": 1}
    assert write == {n: Out(w) for n, w in out.items()} | {n: In(w) for n, w in back.items()}


def test_joined_pins():
    members = axi_read_port(32)

    class Outer(wiring.Component):
        def __init__(self):
            self.inner = wiring.Signature(members).create()
            super().__init__({f"m_{name}": member for name, member in members.items()})

        def elaborate(self, platform):
            m = Module()
            join_pins(m, self, "m_", self.inner, members)
            return m

    outer = Outer()

    async def bench(ctx):
        for n, (name, member) in enumerate(members.items()):
            pin, signal = getattr(outer, f"m_{name}"), getattr(outer.inner, name)
            source, target = (signal, pin) if member.flow == Out else (pin, signal)
            for value in (1, 0, n & 1):
                ctx.set(source, value)
                assert ctx.get(target) == value, name

    simulate(outer, bench)
