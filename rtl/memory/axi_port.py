"""The signals of an AXI4 master, channel by channel."""

from amaranth.lib.wiring import In, Out

__all__ = ["ADDRESS_WIDTH", "PAGE", "axi_read_port", "axi_write_port", "join_pins"]

ADDRESS_WIDTH = 40
PAGE = 4096  # bytes that a burst must not leave


def _address(channel):
    return {
        f"{channel}id": Out(1),
        f"{channel}addr": Out(ADDRESS_WIDTH),
        f"{channel}len": Out(8),
        f"{channel}size": Out(3),
        f"{channel}burst": Out(2),
        f"{channel}cache": Out(4),
        f"{channel}prot": Out(3),
        f"{channel}valid": Out(1),
        f"{channel}ready": In(1),
    }


def axi_read_port(data_width):
    """The members of an AXI4 read master, without their prefix."""
    return {
        **_address("ar"),
        "rid": In(1),
        "rdata": In(data_width),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def axi_write_port(data_width):
    """The members of an AXI4 write master, without their prefix."""
    return {
        **_address("aw"),
        "wdata": Out(data_width),
        "wstrb": Out(data_width // 8),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(1),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


def join_pins(m, outer, prefix, inner, members):
    """Drive the members ``prefix + name`` of ``outer`` by those of ``inner``, and back."""
    for name, member in members.items():
        pin, signal = getattr(outer, prefix + name), getattr(inner, name)
        m.d.comb += pin.eq(signal) if member.flow == Out else signal.eq(pin)
