"""What enters the sequencer's queues: steps, loads, and the tapes' runs of a pass."""

from amaranth import Array, Const, Mux, Signal
from amaranth.utils import exact_log2
from celosia.rtl.machine.pass_sizes import in_view
from celosia.rtl.machine.step import Operand, Region, Scalar, Source

__all__ = ["send_load", "send_step"]


def _write(m, queue, **fields):
    """Set what enters a queue; members not named are 0."""
    for member, value in fields.items():
        m.d.comb += queue.i.p[member].eq(value)


def send_step(m, sequencer, queues, step, logits, counts):
    """A step, and the tapes' runs of a pass. ``counts`` are the words and tiles that it sees."""
    piece = sequencer.lanes * sequencer.parts
    blocks = in_view(m, sequencer.views, step, counts[0], piece)
    scored = blocks << sequencer.score_bits if sequencer.score_bits else blocks
    seen_tiles = in_view(m, sequencer.views, step, counts[1], sequencer.cached_rows)
    words, tiles, chunks = Signal(20), Signal(20), Signal(20)
    m.d.comb += [
        words.eq(Mux(step.dynamic.words, blocks, step.words)),
        tiles.eq(Mux(step.dynamic.tiles, seen_tiles, step.tiles)),
        chunks.eq(Mux(step.dynamic.chunks, scored, step.chunks)),
    ]
    scalar = step.scalar.as_value()
    queried, summed = ((scalar & one.value).any() for one in (Scalar.QUERY, Scalar.SUM))
    same = ("route", "loads", "restarts", "scalar", "argument", "shift", "head", "base")
    _write(
        m,
        queues["operation"],
        **{n: step[n] for n in (*same, *sequencer.more)},
        chunks=chunks,
        single=chunks == 1,
        first=Mux(step.last_token, sequencer.group, 0),
        group=sequencer.group,
        **({"wide": step.operand == Operand.WIDE} if sequencer.wide else {}),
    )
    _write(m, queues["scales"], steps=queried, chunks=chunks, address=step.scale_address)
    same = ("operand", "source", "source_base", "region", "fills", "loads")
    _write(
        m,
        queues["fetch"],
        **{n: step[n] for n in same},
        sums=summed,
        words=words,
        tiles=tiles,
        address=step.address,
        stride=step.stride,
        planes=step.planes,
        buffer=step.argument,
    )
    if sequencer.paged:
        paged = Const(1, 1)
        if len(sequencer.views) > 1:
            paged = Array(view.page > 0 for view in sequencer.views)[step.view]
        _write(m, queues["scales"], paged=paged & queried)
        reads = queues["recall" if sequencer.external_cache else "fetch"]
        asks = (step.operand == Operand.KEYS) | (step.operand == Operand.VALUES)
        _write(m, reads, paged=paged & asks)
    if sequencer.external_cache:
        same = {n: step[n] for n in ("operand", "address", "stride")}
        _write(m, queues["recall"], **same, words=words, tiles=tiles)
    _send_runs(m, sequencer, queues, logits)


def _send_runs(m, sequencer, queues, logits):
    """What the tapes are to read in a pass, or of it, where experts are chosen."""
    program = sequencer.program
    runs = {"weights": program.weight_words, "row_scales": program.scale_words}
    if program.runs:
        both, runs = sequencer.chosen_runs.o.p, {}
        for name, run in (("weights", both.weights), ("row_scales", both.scales)):
            _write(m, queues[name], address=run.address, count=run.count)
    if sequencer.biased:
        runs["biases"] = program.bias_words
    for name, counts in runs.items():
        _write(m, queues[name], address=0, count=Mux(logits, counts[1], counts[0]))


def send_load(m, sequencer, queues, now, number, tile, row):
    """The operation that brings row ``number`` of a table, of a ``tile``, into the residual."""
    lane = number & (sequencer.lanes - 1)
    block = number >> exact_log2(sequencer.lanes)
    with m.Switch(now.which):
        for n, load in enumerate(sequencer.program.loads):
            with m.Case(n):
                fills = Mux(now.place == 0, Region.NORMED, Region.NONE) if n == 0 else Region.NONE
                _send_row(m, sequencer, queues, now.place, load, fills, row)
                _write(m, queues["scales"], single=1, chunks=load.words, lane=lane)
                beats = load.words << load.planes
                _write(m, queues["weights"], address=load.address + tile * beats, count=beats)
                _write(m, queues["row_scales"], address=load.scale_address + block, count=1)


def _send_row(m, sequencer, queues, place, load, fills, row):
    _write(
        m,
        queues["fetch"],
        loads=1,
        operand=Operand.WIDE if sequencer.wide else Operand.TAPE,
        source=Source.ACTIVATIONS,
        region=Region.NONE,
        fills=fills,
        words=load.words << load.planes,
        tiles=1,
        planes=load.planes,
        row=row,
    )
    told = {"keep": load.keep, "normed": load.normed}
    _write(
        m,
        queues["operation"],
        route=sequencer.routes["residual"],
        loads=1,
        restarts=load.normed,
        chunks=load.words,
        single=load.words == 1,
        argument=load.argument,
        shift=load.shift,
        first=place,
        group=place,
        **{name: value for name, value in told.items() if name in sequencer.more},
    )
