"""The quantiser with given scales: per tensor, per channel, or per group of channels."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.units.quantizer import limits
from celosia.rtl.arithmetic.multiplier import multiply
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, round_shift
from celosia.rtl.stream.words import framed

__all__ = ["StaticQuantizer", "limited", "quantized_shape"]


def quantized_shape(width, symmetric):
    """The shape of a quantised value."""
    return signed(width) if symmetric else unsigned(width)


class StaticQuantizer(wiring.Component):
    """``clamp(round(x * multiplier / 2**shift) + zero_point)``, rounded half up.

    One multiplier for all values (per tensor), for each channel, or for each ``group_size``
    channels. Without zero points results go from ``1 - 2**(width - 1)`` to ``2**(width - 1) - 1``,
    with them from 0 to ``2**width - 1``. Bit-exact with
    :func:`celosia.reference.units.quantizer.static_quantize`.

    Latency 4 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    multipliers : sequence of int, each from 0 to 2**16 - 1
        One for the tensor, or those of the groups of channels 0, 1, ...
    shift : int, 0 to 40
    x_width : int, 2 to 24
    width : int, 2 to 8
    group_size : int, 1 or a multiple of ``lanes`` up to 2**16
        Channels that share a multiplier, if there are several.
    zero_points : sequence of int, each from 0 to ``2**width - 1``, or None
        As many as multipliers.

    Members
    -------
    i : In(stream of framed(lanes, x_width))
        ``index * lanes + lane`` is the channel: one that has a multiplier.
    o : Out(stream of framed(lanes, signed(width) or unsigned(width)))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 4

    def __init__(
        self, lanes, multipliers, shift, x_width=16, width=8, group_size=1, zero_points=None
    ):
        check_power_of_two("lanes", lanes, 64)
        check_range("shift", shift, 0, 40)
        check_range("x_width", x_width, 2, 24)
        check_range("width", width, 2, 8)
        if group_size != 1 and group_size not in range(lanes, (1 << 16) + 1, lanes):
            raise ValueError(
                f"group_size must be 1 or a multiple of {lanes} up to 65536, not {group_size!r}"
            )
        if not len(multipliers):
            raise ValueError("multipliers must not be empty")
        for multiplier in multipliers:
            check_range("multipliers", multiplier, 0, (1 << 16) - 1)
        if zero_points is not None and len(zero_points) != len(multipliers):
            raise ValueError(
                f"zero_points must be as many as multipliers ({len(multipliers)}), "
                f"not {len(zero_points)}"
            )
        for zero_point in zero_points or ():
            check_range("zero_points", zero_point, 0, (1 << width) - 1)
        self.lanes = lanes
        self.multipliers = tuple(multipliers)
        self.shift = shift
        self.x_width = x_width
        self.width = width
        self.group_size = group_size
        self.zero_points = None if zero_points is None else tuple(zero_points)
        shape = quantized_shape(width, zero_points is None)
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, x_width))),
                "o": Out(stream.Signature(framed(lanes, shape))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        word = self.i.p
        columns = self._columns(m, pipe, word.index)
        frame = {name: word[name] for name in ("token", "index", "argument", "last")}
        xs, frame = pipe.stage(list(word.data), frame)
        xs, frame, columns = pipe.stage(xs, frame, columns)
        products = [multiply(m, x, c.multiplier) for x, c in zip(xs, columns, strict=True)]
        products, offsets, frame = pipe.stage(products, [c.zero_point for c in columns], frame)
        low, high = limits(self.width, self.zero_points is None)
        results = []
        for product, offset in zip(products, offsets, strict=True):
            rounded = round_shift(m, product, self.shift, self.shift)
            results.append(limited(m, rounded, offset, low, high))
        results, frame = pipe.stage(results, frame)
        pipe.finish({"data": results, **frame})
        return m

    def _columns(self, m, pipe, index):
        """What each lane's value is multiplied by and moved by, a cycle later."""
        zero_points = self.zero_points or [0] * len(self.multipliers)
        entries = [
            {"multiplier": a, "zero_point": z}
            for a, z in zip(self.multipliers, zero_points, strict=True)
        ]
        shape = data.StructLayout({"multiplier": unsigned(16), "zero_point": unsigned(self.width)})
        if len(entries) == 1:
            return [shape.const(entries[0])] * self.lanes
        shared = self.group_size > 1
        lanes = 1 if shared else self.lanes
        entries += [entries[-1]] * (-len(entries) % lanes)
        words = [
            {str(k): entry for k, entry in enumerate(entries[n : n + lanes])}
            for n in range(0, len(entries), lanes)
        ]
        if shared:
            words = [word for word in words for _ in range(self.group_size // self.lanes)]
        row = data.StructLayout({str(k): shape for k in range(lanes)})
        m.submodules.table = table = memory.Memory(shape=row, depth=len(words), init=words)
        port = table.read_port()
        m.d.comb += [port.addr.eq(index), port.en.eq(pipe.advance)]
        return [port.data[str(k % lanes)] for k in range(self.lanes)]


def limited(m, rounded, offset, low, high):
    """``rounded + offset`` limited to ``low`` ... ``high``, as a signal."""
    total = Signal(signed(max(len(rounded), len(offset) + 1) + 1))
    result = Signal(range(min(low, 0), high + 1))
    m.d.comb += total.eq(rounded + offset)
    m.d.comb += result.eq(Mux(total > high, high, Mux(total < low, low, total)))
    return result
