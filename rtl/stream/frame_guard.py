"""What a stream of vectors is when its framing is broken: whole vectors, and an error flag."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.words import INDEX_WIDTH, framed

__all__ = ["FrameGuard", "Guarded"]


class FrameGuard(wiring.Component):
    """Passes words whose indices count 0, 1, ... ``words - 1``, and makes whole vectors of others.

    A vector that breaks off (a wrong index, an early ``last``) is filled up with zeros, the
    last ones of which have ``last``. Words from there to the next index 0 are dropped.

    Where every vector is an operation (``ended``), a missing ``last`` is put right. Where they may
    be ``shorter`` too, ``last`` is their end, and one that breaks off gets one word of zeros.

    Latency 1 cycle. Throughput 1 word per cycle; a missing word costs one.

    Parameters
    ----------
    layout : StructLayout of :func:`celosia.rtl.stream.words.framed`
    words : int, 1 to 65536
        Words in a vector.
    ended : bool
        Whether each vector has its ``last``, not only the last one of an operation.
    shorter : bool
        Whether vectors may have fewer words. Then they are ``ended``.

    Members
    -------
    i : In(stream of layout)
    o : Out(stream of layout)
    error : Out(1)
        Set for good, until reset, by the first violation.

    Raises
    ------
    ValueError
        If ``words`` is out of range.
    """

    def __init__(self, layout, words, ended=False, shorter=False):
        check_range("words", words, 1, 65536)
        self.layout = layout
        self.words = words
        self.ended = ended or shorter
        self.shorter = shorter
        super().__init__(
            {"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout)), "error": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, stream.Signature(self.layout).create()
        pipe = Pipeline(m, o, self.o)
        pipe.finish(*pipe.stage(o.p))
        place, full, final, cut = Signal(INDEX_WIDTH), Signal(), Signal(), Signal()
        endless = full & ~i.p.last & self.ended
        right, pad, drop = Signal(), Signal(), Signal()
        m.d.comb += [
            full.eq(place == self.words - 1),
            final.eq(full | (self.shorter & (pad | i.p.last))),
            right.eq(i.p.index == place),
            pad.eq((place != 0) & (cut | (i.valid & ~right))),
            drop.eq((place == 0) & i.valid & ~right),
            o.valid.eq((i.valid & right) | pad),
            i.ready.eq(drop | (o.ready & ~pad)),
        ]
        with m.If(pad):
            m.d.comb += [o.p.index.eq(place), o.p.last.eq(final)]
        with m.Else():
            m.d.comb += o.p.eq(i.p)
            m.d.comb += o.p.last.eq(final & (i.p.last | self.ended))
        with m.If(o.valid & o.ready):
            m.d.sync += place.eq(place + 1)
            with m.If(~pad & i.p.last & ~final):
                m.d.sync += [cut.eq(1), self.error.eq(1)]
            with m.If(final):
                m.d.sync += [place.eq(0), cut.eq(0)]
        with m.If(pad | drop | (i.valid & right & endless)):
            m.d.sync += self.error.eq(1)
        return m


class Guarded(wiring.Component):
    """``component``, whose vectors on ``i`` are whole whatever comes: behind a :class:`FrameGuard`.

    The one guard of a chain belongs where its words come from outside: units pass whole vectors on.
    ``LayerNorm``, ``Hadamard`` and ``Softmax`` have theirs inside. A vector's words follow one
    another: a group of tokens, word by word in turn, cannot be guarded.

    Latency 1 cycle more than the component's.

    Parameters
    ----------
    component : wiring.Component
        With an input stream ``i`` of :func:`celosia.rtl.stream.words.framed` words.
    words, shorter
        Of the :class:`FrameGuard`: the words of each operation, and whether it may have fewer.

    Members
    -------
    Those of ``component``, and
    error : Out(1)
        Set for good, until reset, by the first violation.

    Raises
    ------
    ValueError
        If a parameter is out of range, or ``component`` has no such stream.
    """

    def __init__(self, component, words, shorter=False):
        members = dict(component.signature.members)
        names = framed(1, 1).members.keys()
        i = getattr(component, "i", None)
        shape = i.payload.shape() if "i" in members and not members["i"].is_port else None
        if not names <= getattr(shape, "members", {}).keys() or "error" in members:
            name = type(component).__name__
            raise ValueError(f"component must have framed words and no guard, unlike {name}")
        self._guard = FrameGuard(shape, words, True, shorter)
        self.component = component
        self.words = words
        self.shorter = shorter
        super().__init__({**members, "i": In(stream.Signature(shape)), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = component = self.component
        m.submodules.guard = guard = self._guard
        wiring.connect(m, wiring.flipped(self.i), guard.i)
        m.d.comb += [
            component.i.payload.eq(guard.o.payload),
            component.i.valid.eq(guard.o.valid),
            guard.o.ready.eq(component.i.ready),
            self.error.eq(guard.error),
        ]
        for name, member in component.signature.members.items():
            ours, theirs = getattr(self, name), getattr(component, name)
            if not member.is_port:
                if name != "i":
                    wiring.connect(m, wiring.flipped(ours), theirs)
            elif member.flow == In:
                m.d.comb += theirs.eq(ours)
            else:
                m.d.comb += ours.eq(theirs)
        return m
