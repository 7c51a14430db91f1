"""The machine's operands, wired: tape, caches and memories to the fetcher and the fabric."""

from amaranth import Cat, Signal
from amaranth.lib.wiring import connect, flipped
from celosia.rtl.kv_cache.axi_cache import cache_pins
from celosia.rtl.machine.shape import AxiMemory, SdramMemory
from celosia.rtl.memory.axi_port import join_pins
from celosia.rtl.memory.axi_tape import axi_pins
from celosia.rtl.memory.flash_boot import FlashBoot
from celosia.rtl.memory.spi_flash import SpiFlash

__all__ = ["read_by_page", "wire_cache", "wire_operands"]

FLASH_CLOCK = 25_000_000  # Hz, at most: the way through the chip to its pins is long


def wire_operands(m, machine, u):
    """Operands to the fabric, embeddings past it, exponentials also to their sum."""
    words = u.tape.o
    between = [name for name in ("group_scales", "ternary_words") if hasattr(u, name)]
    for unit in (getattr(u, name) for name in between):
        connect(m, words, unit.i)
        words = unit.o
    connect(m, words, u.fetch.tape)
    outside = {}  # units with ports to external memory
    if isinstance(machine.weights, AxiMemory):
        outside[u.tape] = axi_pins(machine.weights)
    if machine.shape.cache_width:
        outside[u.cache] = cache_pins(machine.shape.cache_width)
    for unit, pins in outside.items():
        join_pins(m, machine, "", unit, pins)
    m.d.comb += u.controller.fault.eq(Cat(unit.error for unit in outside).any())
    if isinstance(machine.weights, SdramMemory):
        connect(m, u.tape.pins, flipped(machine.sdram))
        _loads(m, machine, u)
    connect(m, u.scale_tape.o, u.scale_words.i)
    connect(m, u.scale_words.o, u.row_scales.tape)
    connect(m, u.fabric.o, u.collect.tiles)
    connect(m, u.row_scales.o, u.chosen_scales.i)
    connect(m, u.chosen_scales.o, u.collect.row_scales)
    if machine.program.attends:
        connect(m, u.sums.o, u.collect.sums)
    _wire_embedded(m, machine, u)
    _wire_fetch(m, machine, u)


def _wire_embedded(m, machine, u):
    """Embeddings past the fabric: of a beat the row that is meant."""
    fetched = u.fetch.o.p
    embedded = u.embedded.i
    if machine.shape.groups:
        connect(m, u.embedded.o, u.embedding_words.i)
        connect(m, u.embedding_words.o, u.collect.embedded)
    else:
        connect(m, u.embedded.o, u.collect.embedded)
    choice, chosen = u.row_choice.i, u.row_choice.o
    m.d.comb += [
        choice.valid.eq(u.fetch.o.valid & fetched.embedding),
        choice.p.row.eq(fetched.row),
        embedded.valid.eq(chosen.valid),
    ]
    rows = fetched.beat.cached if machine.program.wide else fetched.beat.weights
    for word, codes in zip(choice.p.words, rows, strict=True):
        m.d.comb += word.codes.eq(codes)
    if machine.shape.groups:
        for word, read in zip(choice.p.words, fetched.beat.parameters, strict=True):
            m.d.comb += word.parameters.eq(read)
        upper = Signal(2)
        m.d.sync += upper.eq(Cat(upper[1], fetched.upper))
        codes = zip(embedded.p.codes, chosen.p.codes, strict=True)
        m.d.comb += [
            *(a.eq(b) for a, b in codes),
            embedded.p.parameters.eq(chosen.p.parameters),
            embedded.p.upper.eq(upper[0]),
        ]
    else:
        m.d.comb += embedded.payload.eq(chosen.p.codes)


def _wire_fetch(m, machine, u):
    """The fetcher to its memories and to what takes its beats."""
    fetched, memories = u.fetch.o.p, [u.activations]
    summed, queried, stepped = [], [], []
    if machine.program.attends:
        memories += [u.queries, u.scores]
        summed = [
            u.sums.i.valid.eq(u.fabric.i.valid & fetched.sum),
            u.sums.i.p.blocks.eq(fetched.beat.activations),
            u.sums.i.p.last.eq(fetched.sum_last),
            *([u.sums.i.p.totals.eq(fetched.totals)] if u.sums.total_width else []),
        ]
        queried = [
            u.fetch.queries.eq(u.queries.data),
            u.fetch.scores.eq(u.scores.data),
            u.fetch.largest.eq(u.scores.largest),
            u.scores.buffer.eq(u.fetch.buffer),
        ]
        stepped = [
            u.queries.head.eq(u.collect.head),
            u.collect.query_steps.eq(u.queries.steps),
        ]
    m.d.comb += [
        u.fabric.i.payload.eq(fetched.beat),
        u.fabric.i.valid.eq(u.fetch.o.valid & ~fetched.embedding),
        u.fetch.full.eq(u.fabric.nearly_full | u.embedded.nearly_full),
        *summed,
        u.fetch.activations.eq(u.activations.data),
        *queried,
        u.activations.refill.eq(u.fetch.refill),
        u.activations.refill_en.eq(u.fetch.refill_en),
        *stepped,
    ]
    m.d.comb += [mark.eq(u.activations.filled[n]) for n, mark in enumerate(u.fetch.filled)]
    for unit in memories:
        m.d.comb += [
            unit.address.eq(u.fetch.activation_address),
            unit.read_en.eq(u.fetch.read_en),
        ]


def _loads(m, machine, u):
    """The host fills the memory, after the boot, if there is one."""
    memory = u.link.memory
    m.d.comb += memory.holds.eq(u.tape.holds)
    if not machine.weights.boots:
        for name in ("write", "check"):
            connect(m, getattr(memory, name), getattr(u.tape, name))
        connect(m, u.tape.checksum, memory.checksum)
        return
    boot = FlashBoot(machine.weights.size, machine.weights.flash)
    m.submodules.boot = boot
    half = -(-int(machine.weights.frequency) // (2 * FLASH_CLOCK))  # of a period
    m.submodules.flash = flash = SpiFlash(machine.weights.frequency, half)
    connect(m, boot.read, flash.read)
    connect(m, flash.o, boot.i)
    connect(m, flash.pins, flipped(machine.flash))
    m.d.comb += u.link.busy.eq(u.controller.busy | boot.busy)
    with m.If(boot.busy):
        for name in ("write", "check"):
            connect(m, getattr(boot, name), getattr(u.tape, name))
        connect(m, u.tape.checksum, boot.checksum)
    with m.Else():
        for name in ("write", "check"):
            connect(m, getattr(memory, name), getattr(u.tape, name))
        connect(m, u.tape.checksum, memory.checksum)


def read_by_page(m, machine, u, name):
    """The sequencer's steps of that name, cut into pages where they may read of a paged cache."""
    steps = getattr(u.sequencer, name)
    if name not in u.sequencer.paged:
        return steps
    port = int(name == "scales")
    runs = u.step_runs if port else u.cache_runs
    connect(m, steps, runs.i)
    m.d.comb += [
        u.slots.entry[port].eq(runs.entry),
        u.slots.entry_en[port].eq(runs.entry_en),
        runs.block.eq(u.slots.block[port]),
    ]
    return runs.o


def wire_cache(m, machine, u):
    """Values into the cache, keys and values on to the fabric; when each was written."""
    if machine.shape.cache_width:
        values, steps = u.cache.values, u.cache
        written = u.cache.written_keys, u.cache.written_values
        connect(m, read_by_page(m, machine, u, "recall"), u.cache.recall)
        connect(m, u.cache.o, u.fetch.cached)
    else:
        values, steps = u.value_cache.i, u.key_cache
        written = u.key_cache.written, u.value_cache.written
        for unit, read in ((u.key_cache, u.fetch.keys), (u.value_cache, u.fetch.values)):
            m.d.comb += [
                unit.address.eq(u.fetch.address),
                unit.read_en.eq(u.fetch.read_en),
                read.eq(unit.data),
            ]
    if machine.shape.value_steps:
        m.d.comb += [
            u.value_steps.i.valid.eq(values.valid),
            u.value_steps.i.payload.eq(values.p),
            u.value_steps.step_address.eq(u.row_scales.address),
            u.value_steps.step_en.eq(u.row_scales.read_en),
            u.row_scales.value_steps.eq(u.value_steps.steps),
        ]
    else:
        connect(m, u.value_words.o, values)
    m.d.comb += [
        steps.step_address.eq(u.row_scales.address),
        steps.step_en.eq(u.row_scales.read_en),
        u.row_scales.steps.eq(steps.steps),
    ]
    return written
