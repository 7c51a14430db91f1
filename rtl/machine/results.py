"""The machine's results, wired: the fabric's words through scaling and units to memories."""

from amaranth import Cat
from amaranth.lib.wiring import connect
from celosia.rtl.machine.step import BUFFER_WIDTH, Kind
from celosia.rtl.stream.buffer import Buffer, Skid
from celosia.rtl.stream.pipeline import clamp

__all__ = ["wire_results"]


def wire_results(m, machine, u):
    """Scaled words to the unit of their kind, and on to the memories."""
    connect(m, u.collect.o, u.scale.i)
    _distribute(m, machine, u)
    connect(m, u.residual.o, u.norm.i)
    connect(m, u.norm.scalars, u.collect.norms)
    connect(m, u.norm.o, u.merge.i[0])
    hidden, merged = u.swiglu.o, u.merge.i[1]
    m.d.comb += [
        merged.valid.eq(hidden.valid),
        hidden.ready.eq(merged.ready),
        merged.payload.eq(hidden.payload),
        merged.p.index.eq(hidden.p.index + machine.shape.hidden_start),
    ]
    connect(m, u.merge.o, u.quantize.i)
    connect(m, u.quantize.o, u.activations.i)
    m.d.comb += [  # the rotation never stalls
        u.turned.i.valid.eq(u.rope.o.valid),
        u.turned.i.payload.eq(u.rope.o.p),
        u.rope.o.ready.eq(1),
    ]
    connect(m, u.turned.o, u.head_quantize.i)
    connect(m, u.softmax.o, u.scores.i)
    head = u.head_quantize.o
    m.d.comb += [
        head.ready.eq(1),
        u.queries.i.valid.eq(head.valid & ~head.p.argument[0]),
        u.queries.i.payload.eq(head.payload),
        u.sampled.i.valid.eq(u.sampler.o.valid),
        u.sampled.i.payload.eq(u.sampler.o.p.token),
        u.sampler.o.ready.eq(1),  # the controller takes a pass's token before the next pass
    ]
    connect(m, u.sampled.o, u.controller.sampled)


def _distribute(m, machine, u):
    """Scaled words to the unit of their kind, through a buffer near each."""
    targets = (
        ("residual", (Kind.LOAD, Kind.ADD), u.residual.i),
        ("heads", (Kind.QUERY, Kind.KEY), u.rope.i),
        ("values", (Kind.VALUE,), u.value_words.i),
        ("scores", (Kind.SCORE,), u.softmax.i),
        ("attention", (Kind.ATTENTION,), u.merge.i[2]),
        ("hidden", (Kind.SWIGLU,), u.swiglu.i),
        ("logits", (Kind.LOGITS,), u.sampler.i),
    )
    waits = {"heads": u.turned.nearly_full}
    m.submodules.scaled = skid = Skid(u.scale.o.p.shape())
    connect(m, u.scale.o, skid.i)
    scaled = skid.o
    buffers = {name: Buffer(scaled.p.shape()) for name, _, _ in targets}
    # Any full one stops the words of all: each empties by itself, and none does so often.
    m.d.comb += scaled.ready.eq(Cat(buffer.i.ready for buffer in buffers.values()).all())
    for name, kinds, target in targets:
        m.submodules[f"scaled_{name}"] = buffer = buffers[name]
        moves = ~waits[name] if name in waits else 1
        word, width = buffer.o.p, len(target.p.data[0])
        here = Cat(scaled.p.kind == kind for kind in kinds).any()
        m.d.comb += [
            buffer.i.payload.eq(scaled.payload),
            buffer.i.valid.eq(scaled.valid & scaled.ready & here),
            target.valid.eq(buffer.o.valid & moves),
            buffer.o.ready.eq(target.ready & moves),
            *(target.p.data[n].eq(clamp(x, width)) for n, x in enumerate(word.data)),
            *(target.p[n].eq(word[n]) for n in ("token", "index", "argument", "last")),
        ]
        if "view" in dict(target.p.shape()):
            m.d.comb += target.p.view.eq(word.argument[BUFFER_WIDTH:])
    word = buffers["residual"].o.p
    m.d.comb += [
        u.residual.i.p.load.eq(word.kind == Kind.LOAD),
        u.residual.i.p.norm.eq(word.norm),
    ]
