"""The MAC fabric: a systolic array of dot products that consumes the tape, one beat a cycle."""

from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.arithmetic.multiplier import multiply
from celosia.rtl.mac.dot_products import DotProducts
from celosia.rtl.mac.format import CACHED_WIDTH, MacFormat
from celosia.rtl.mac.group_scales import parameter_layout
from celosia.rtl.stream.block_queue import BlockQueue
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import delayed
from celosia.rtl.stream.queue import Queue

__all__ = ["MANTISSA_WIDTH", "SHARING", "MacFabric", "activation_layout", "beat_layout"]

MANTISSA_WIDTH = 8
EXPONENT_WIDTH = 4
PLAIN = MacFormat()
SHARING = 4  # rows that share registers for their activations and what steers their sums
FINE = 2  # bits of the exponent that shift a dot product before its register, not behind it


def activation_layout(lanes, width=MANTISSA_WIDTH):
    """A block of activations: ``mantissa[lanes] * 2**exponent``."""
    return data.StructLayout(
        {
            "mantissa": data.ArrayLayout(signed(width), lanes),
            "exponent": unsigned(EXPONENT_WIDTH),
        }
    )


def beat_layout(
    rows, lanes, tokens, weight_width, groups=None, parts=1, cached_rows=0, width=MANTISSA_WIDTH
):
    """What the fabric takes in a cycle.

    ``weights`` int[rows, lanes]; ``parts`` blocks of ``activations`` for each token; ``first`` and
    ``last`` frame the beats of a tile. With ``groups`` also ``parameters``, each row's
    scale and offset. With ``cached_rows`` keys and values are int8[cached_rows, lanes] ``cached``,
    which count instead of the weights where ``from_cache`` is set. Mantissas have ``width`` bits.
    """
    members = {
        "weights": data.ArrayLayout(data.ArrayLayout(signed(weight_width), lanes), rows),
        "activations": data.ArrayLayout(activation_layout(lanes, width), tokens * parts),
        "first": 1,
        "last": 1,
    }
    if groups:
        members["parameters"] = data.ArrayLayout(parameter_layout(groups), rows)
    if cached_rows:
        codes = data.ArrayLayout(signed(CACHED_WIDTH), lanes)
        members |= {"cached": data.ArrayLayout(codes, cached_rows), "from_cache": 1}
    return data.StructLayout(members)


class MacFabric(wiring.Component):
    """``o[token, row] = sum over a tile's beats of (weights[row] . mantissa[token]) << exponent``.

    With ``groups`` the dot product counts ``scale[row]`` times, and ``offset[row]`` times the sum
    of the mantissas is added to it. An output-stationary array of ``tokens x rows`` dot products of
    ``lanes`` multipliers each. A beat's weights serve all tokens, a token's block all rows; of
    ``parts`` blocks each serves every ``parts``-th chunk of ``lanes`` rows. Exact: nothing rounds,
    and ``acc_width`` bits hold any tile the caller sends.

    Ternary weights take additions and subtractions only: :mod:`celosia.rtl.mac.ternary_sum`.

    With ``cached_rows`` keys and values have rows of their own, the first ones of a tile whose
    beats are ``from_cache``; what such a tile has in other rows means nothing. Their multipliers
    are those of the weights, of which two rows may share one; beside ternary weights they are the
    only ones.

    Latency from the last beat of a tile to its result ``5 + ceil(log2(lanes) / 2)`` cycles, with
    ``groups`` 2 more, if ternary ``4 + ceil(lanes / 4)``, with ``cached_rows`` the longer of both;
    with ``results_in_blocks`` 1 more.
    Throughput 1 beat per cycle; 16 results may wait without stopping the beats.

    Parameters
    ----------
    rows, lanes, tokens : int, at least 1
        ``tokens * rows * lanes`` is the number of products; a multiplier makes ``form.group`` of
        them, of rows ``rows / form.group`` apart. Scales and offsets need another ``tokens * rows``
        multipliers each.
    form : MacFormat
        Without ``cached_rows`` keys and values have its ``weight_width``; with them activations
        have 8 bits.
    acc_width : int, 24 to 56
    groups : GroupFormat, optional
    results_in_blocks : bool
        Whether results wait in block RAM, or in LUTs.
    parts : int, 1 to 64
    portable : int
        Multipliers that are no blocks of the chip, the last ones: for who needs blocks more. Of
        two products in one, each is then made apart.
    cached_rows : int, 0 to ``rows / form.group``
        Rows of keys and values, or 0 where these come as weights. Of at least 2 lanes.

    Members
    -------
    i : In(stream of beat_layout)
    o : Out(stream of int acc_width[tokens, rows])
    nearly_full : Out(1)
        There is room for 2 tiles at most.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    results = 16

    def __init__(
        self,
        rows,
        lanes,
        tokens=1,
        form=PLAIN,
        acc_width=40,
        groups=None,
        results_in_blocks=False,
        parts=1,
        portable=0,
        cached_rows=0,
    ):
        for name, value in (("rows", rows), ("lanes", lanes), ("tokens", tokens)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        if not isinstance(form, MacFormat):
            raise ValueError(f"form must be a MacFormat, not {form!r}")
        if cached_rows and form.activation_width != MANTISSA_WIDTH:
            width = form.activation_width
            raise ValueError(f"activation_width must be 8 with cached_rows, not {width!r}")
        if rows % form.group:
            raise ValueError(f"rows must be a multiple of {form.group}, not {rows}")
        if acc_width not in range(24, 57):
            raise ValueError(f"acc_width must be from 24 to 56, not {acc_width!r}")
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.form = form
        self.acc_width = acc_width
        self.groups = groups
        self.results_in_blocks = results_in_blocks
        check_range("parts", parts, 1, 64)
        self.parts = parts
        check_range("cached_rows", cached_rows, 0, rows // form.group)
        if cached_rows and lanes == 1:
            raise ValueError("cached_rows must be 0 with 1 lane")
        self.cached_rows = cached_rows
        if form.ternary and groups:
            raise ValueError("groups must be None if ternary: their scales need multipliers")
        self._products = DotProducts(rows, lanes, tokens, form, cached_rows, portable)
        self._depth = 3 + self._products.stages + (2 if groups else 0)  # to the accumulators
        self.latency = self._depth + 2 + results_in_blocks
        tile = data.ArrayLayout(data.ArrayLayout(signed(acc_width), rows), tokens)
        widths = form.weight_width, groups, parts, cached_rows, form.activation_width
        beat = beat_layout(rows, lanes, tokens, *widths)
        super().__init__(
            {
                "i": In(stream.Signature(beat)),
                "o": Out(stream.Signature(tile)),
                "nearly_full": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queue = BlockQueue if self.results_in_blocks else Queue
        m.submodules.results = results = queue(self.o.p.shape(), self.results)
        connect(m, results.o, flipped(self.o))
        self._keep_room(m)

        # A register for the beat, two in the multipliers, those of the adders, the accumulator.
        beat = self.i.p
        weights = delayed(m, beat.weights)
        cached = delayed(m, beat.cached) if self.cached_rows else None
        frame = Signal(data.StructLayout({"first": 1, "last": 1, "valid": 1}))
        m.d.comb += [
            frame.first.eq(beat.first),
            frame.last.eq(beat.last),
            frame.valid.eq(self.i.valid & self.i.ready),
        ]
        earlier = delayed(m, frame, self._depth - 2)
        coming = delayed(m, earlier)
        frame = delayed(m, coming)
        starting, written = Signal(), Signal()
        m.d.comb += starting.eq(earlier.valid & earlier.first)
        m.d.sync += written.eq(frame.valid & frame.last)
        m.d.comb += results.i.valid.eq(written)
        parameters = self._parameters(m, beat)
        products = self._products
        for token in range(self.tokens):
            blocks = beat.activations[token * self.parts : (token + 1) * self.parts]
            exponents = [delayed(m, block.exponent, self._depth - 2) for block in blocks]
            total = self._total(m, delayed(m, blocks[0].mantissa))  # of cached operands not used
            dots = {}  # of rows that share multipliers with earlier ones
            for row in range(self.rows):
                if row % min(SHARING, self.lanes if self.parts > 1 else SHARING) == 0:
                    name, part = f"copy_{token}_{row}", row // self.lanes % self.parts
                    mantissas = delayed(m, blocks[part].mantissa, 1, name)
                    early = delayed(m, exponents[part], 1, name)
                    later = delayed(m, early[FINE:], 1, name)
                    clear, valid = delayed(m, starting, 1, name), delayed(m, coming.valid, 1, name)
                    if row < self.cached_rows:
                        from_cache = delayed(m, beat.from_cache, 1, name)
                if row not in dots:
                    codes = (cached[row], from_cache) if row < self.cached_rows else None
                    dots |= products.of(m, weights, mantissas, codes, token, row)
                dot = dots.pop(row)
                if self.groups:
                    dot = delayed(m, dot, int(self.lanes > 1))
                    dot = self._scaled(m, dot, total, parameters[row])
                shifted = self._shifted(m, dot, early, later)
                summed = self._summed(m, f"{token}_{row}", shifted, valid, clear)
                m.d.sync += results.i.p[token][row].eq(summed)
        return m

    def _keep_room(self, m):
        """The arithmetic never stalls: a tile's last beat comes only if its result has room."""
        room = Signal(range(self.results + 1), init=self.results)
        room_next = Signal.like(room)
        open_ = Signal(init=1)
        taken = Signal()
        ending = Signal()
        m.d.comb += [
            self.i.ready.eq(open_),
            ending.eq(self.i.valid & self.i.ready & self.i.p.last),
            room_next.eq(room + taken - ending),
        ]
        m.d.sync += [
            taken.eq(self.o.valid & self.o.ready),
            room.eq(room_next),
            open_.eq(room_next != 0),
            self.nearly_full.eq(room_next <= 2),
        ]

    def _shifted(self, m, dot, early, later):
        """The dot product by its block's exponent: the first bits of it before a register."""
        registered = self.lanes == 1 and not self.form.ternary
        if not self.groups and registered:  # the product comes out of a register
            return _shift(m, dot, Cat(delayed(m, early[:FINE]), later))
        dot = delayed(m, _shift(m, dot, early[:FINE]))
        return _shift(m, dot, later, 1 << FINE)

    def _summed(self, m, number, shifted, valid, clear):
        """The sum so far and ``shifted``, which the accumulator keeps."""
        acc = Signal(signed(self.acc_width), name=f"acc_{number}", reset_less=True)
        summed = Signal(signed(self.acc_width), name=f"summed_{number}")
        m.d.comb += summed.eq(acc + shifted)
        with m.If(valid):
            m.d.sync += acc.eq(summed)
        with m.If(clear):  # a cycle ahead, by the registers' own reset
            m.d.sync += acc.eq(0)
        return summed

    def _parameters(self, m, beat):
        """The rows' scales and offsets beside their dot products."""
        if self.groups is None:
            return None
        return delayed(m, beat.parameters, self._depth - 2)

    def _total(self, m, block):
        """The sum of a block's values beside its dot products, where offsets need it."""
        if self.groups is None or not self.groups.offsets:
            return None
        return delayed(m, sum(block[1:], block[0]), self._depth - 3)

    def _scaled(self, m, dot, total, parameters):
        """``dot * scale + total * offset``, in two stages but for the second one's register."""
        product = Signal(signed(len(dot) + len(parameters.scale) + 1), name="scaled_dot")
        m.d.sync += product.eq(multiply(m, dot, parameters.scale))
        offset = 0
        if self.groups.offsets:
            offset = Signal(signed(len(total) + len(parameters.offset)), name="scaled_total")
            m.d.sync += offset.eq(multiply(m, total, parameters.offset))
        return product + offset


def _shift(m, x, distance, unit=1):
    """``x << (unit * distance)`` as one choice among all distances."""
    shifted = Signal(signed(len(x) + unit * ((1 << len(distance)) - 1)), name="shifted")
    with m.Switch(distance):
        for steps in range(1 << len(distance)):
            with m.Case(steps):
                m.d.comb += shifted.eq(x << (unit * steps))
    return shifted
