"""A run's end with all of its counters at once, where the units give and take them one by one."""

from amaranth.hdl import Array, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In
from celosia.rtl.host.host_link import HostLink

__all__ = ["CountedLink", "done_layout"]


def done_layout(n_counters):
    """The end of a run, with its counters."""
    counters = data.ArrayLayout(unsigned(32), n_counters)
    return data.StructLayout({"reason": unsigned(8), "counters": counters})


class CountedLink(wiring.Component):
    """A host link whose ``done`` brings the counters."""

    def __init__(self, info, timeout):
        self.link = HostLink(info, timeout)
        self.n_counters = info.n_counters
        members = self.link.signature.members
        self.names = [name for name in members if name not in ("done", "number", "value")]
        super().__init__(
            {name: members[name] for name in self.names}
            | {"done": In(stream.Signature(done_layout(self.n_counters)))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = self.link
        for name in self.names:
            port = getattr(self, name)
            if isinstance(port, Signal):
                inside = getattr(link, name)
                out = name == "abort"
                m.d.comb += port.eq(inside) if out else inside.eq(port)
            else:
                wiring.connect(m, wiring.flipped(port), getattr(link, name))
        m.d.comb += [
            link.done.valid.eq(self.done.valid),
            link.done.p.reason.eq(self.done.p.reason),
            self.done.ready.eq(link.done.ready),
        ]
        if self.n_counters:
            m.d.comb += link.value.eq(Array(self.done.p.counters)[link.number])
        return m
