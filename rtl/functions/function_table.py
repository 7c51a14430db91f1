"""Any function of one variable, from a table that was searched for it."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.functions.function_table import FunctionTable, named
from celosia.rtl.functions.interpolate import interpolate
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.words import framed

__all__ = ["Function"]


class Function(wiring.Component):
    """``y = f(x)`` in every lane, with an error of at most ``table.error`` units of ``y``.

    Bit-exact with calling ``table``, a
    :class:`celosia.reference.functions.function_table.FunctionTable`. The named ones, their formats
    and error bounds, in units of the last place of ``y``:

    =========== ======================= ================= ======== =====
    name        function                x                 y        error
    =========== ======================= ================= ======== =====
    exp         ``exp(-x)``             unsigned, 2**-12  2**-15   1.0
    sigmoid     ``1 / (1 + exp(-x))``   signed, 2**-12    2**-15   1.0
    silu        ``x * sigmoid(x)``      signed, 2**-12    2**-12   1.0
    gelu        with ``erf``            signed, 2**-12    2**-12   1.0
    gelu_tanh   with ``tanh``           signed, 2**-12    2**-12   1.0
    tanh        ``tanh(x)``             signed, 2**-12    2**-15   1.0
    reciprocal  ``1 / x``, [1/2, 1)     unsigned, 2**-16  2**-15   1.0
    rsqrt       ``x**-0.5``, [1/4, 5/4) unsigned, 2**-16  2**-15   1.0
    =========== ======================= ================= ======== =====

    Latency :attr:`latency`, 4 to 6 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    table : FunctionTable or str
        A table, or the name of one.
    lanes : int, 1 to 64
    tokens : int, 1 to 64
    multiplier_blocks : bool
        Whether each lane's product is one of the chip's multipliers, or made of LUTs.

    Members
    -------
    i : In(stream of framed(lanes, x_shape, tokens))
        ``x_shape`` is the smallest that holds the table's range.
    o : Out(stream of framed(lanes, y_shape, tokens))
        ``y_shape`` is the smallest that holds all results.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, table, lanes=1, tokens=1, multiplier_blocks=False):
        table = named(table) if isinstance(table, str) else table
        if not isinstance(table, FunctionTable):
            raise ValueError(f"table must be a FunctionTable or the name of one, not {table!r}")
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        self.table = table
        self.lanes = lanes
        self.tokens = tokens
        self.multiplier_blocks = multiplier_blocks
        self.x_shape = _shape(table.low, table.high - 1)
        self.y_shape = _shape(*table.y_range)
        size = table.high - table.low
        self._limits = size != 1 << self.x_shape.width
        self._rounds = table.guard > 0 or table.offset != 0
        self.latency = 4 + self._limits + self._rounds
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, self.x_shape, tokens))),
                "o": Out(stream.Signature(framed(lanes, self.y_shape, tokens))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        table, pipe = self.table, Pipeline(m, self.i, self.o)
        frame = {n: self.i.p[n] for n in ("token", "index", "argument", "last")}

        # The place in the range.
        places = [Signal(range(table.high - table.low)) for _ in self.i.p.data]
        for place, x in zip(places, self.i.p.data, strict=True):
            above, below = x >= table.high, x < table.low
            end = Mux(below, table.low, Mux(above, table.high - 1, x))
            whole = Cat(x[:-1], x[-1] ^ self.x_shape.signed)
            m.d.comb += place.eq(end - table.low if self._limits else whole)
        if self._limits:
            frame, places = pipe.stage(frame, places)

        values, (*frame,) = interpolate(
            m,
            pipe,
            (table.base, table.slope),
            table.fraction_width,
            places,
            [*frame.values()],
            table.slope_shift,
            table.base_width,
            self.multiplier_blocks,
        )
        frame, values = pipe.stage(frame, values)
        if self._rounds:
            half = 1 << table.guard >> 1
            y = [((v + half) >> table.guard) + table.offset for v in values]
            frame, values = pipe.stage(frame, y)
        names = ("token", "index", "argument", "last")
        pipe.finish({"data": values, **dict(zip(names, frame, strict=True))})
        return m


def _shape(low, high):
    """The smallest shape of numbers from ``low`` to ``high``."""
    if low >= 0:
        return unsigned(max(high.bit_length(), 1))
    return signed(max(high.bit_length(), (~low).bit_length()) + 1)
