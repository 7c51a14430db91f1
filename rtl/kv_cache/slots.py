"""The slots of a group's positions: where its keys and values go, and which slots it sees."""

from itertools import pairwise

from amaranth import Array, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.kv_cache.paged_slots import PagedSlots
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.words import token_width

__all__ = ["Slots", "check_slots", "seen_layout", "seen_shape", "view_member", "view_table"]

POSITION_WIDTH = 20
SLOT = unsigned(POSITION_WIDTH)
TABLE = ("entry", "entry_en", "block")


def seen_layout():
    """The slots that a token sees, a ring's ``oldest`` to its own ``slot``.

    Where ``wrapped``, those up to ``slot`` and those from ``oldest`` on, else those that are both.
    """
    return data.StructLayout({"slot": unsigned(POSITION_WIDTH + 1), "oldest": SLOT, "wrapped": 1})


def seen_shape(n_views, tokens):
    """``seen_layout`` of every token of a group in every view."""
    return data.ArrayLayout(data.ArrayLayout(seen_layout(), tokens), n_views)


def view_table(layer_views):
    """The different views among those of the layers, in order, and the number of each layer's."""
    table = tuple(dict.fromkeys(layer_views))
    return table, tuple(table.index(view) for view in layer_views)


def view_member(views):
    """The member ``view`` of a word or a step, where there are several to choose from."""
    return {"view": unsigned(ceil_log2(len(views)))} if len(views) > 1 else {}


def check_slots(view, tokens, rows=1, lanes=1):
    """Raise ValueError unless a group of ``tokens`` can use the slots of ``view``.

    A ring and a page are cut into tiles of ``rows`` and blocks of ``lanes``; a ring holds the
    windows of all tokens of a group at once.
    """
    name, whole = ("slots", view.slots) if view.wraps else ("page", view.page)
    for unit, size in (("rows", rows), ("lanes", lanes)):
        if whole % size:
            raise ValueError(f"{name} must be a multiple of {unit} ({size}), not {whole}")
    if not view.wraps:
        return
    least = view.window + tokens - 1
    if view.slots < least:
        raise ValueError(f"slots must be at least window + tokens - 1 ({least}), not {view.slots}")


class Slots(wiring.Component):
    """The slot of each position of a group, and the slots that its tokens see, for every view.

    Equal to :func:`celosia.reference.view.slot_positions`. A linear cache's slots are its
    positions, at once; rings are worked out when ``position`` changes. A paged cache's pages are
    taken as they are needed (:class:`celosia.rtl.kv_cache.paged_slots.PagedSlots`); what tokens see
    of it is said in positions.

    Latency 0 without rings and pages, with rings at most ``22 + tokens`` cycles from ``position``
    to ``ready``, with pages see PagedSlots.

    Parameters
    ----------
    layer_views : sequence of celosia.reference.view.View, 1 to 256
        Of each layer.
    tokens : int, 1 to 64

    Members
    -------
    position : In(unsigned(20))
        Of the group's first token.
    group : In(unsigned)
        The number of its last token. Only with pages, like ``entry``, ``entry_en`` and ``block``:
        the page table's, see :class:`celosia.rtl.kv_cache.kv_paged.KvPaged`.
    ready : Out(1)
        ``slot`` and ``seen`` are those of ``position``.
    asked, slot : In({layer: unsigned(8), token: unsigned}, 2 times), Out(unsigned(20), 2 times)
        The slot of a token's position in a layer, in the same cycle: two ports.
    seen : Out(seen_layout[views, tokens])
        By the number of the view in :func:`view_table`.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, layer_views, tokens=1):
        check_range("the number of layers", len(layer_views), 1, 256)
        check_range("tokens", tokens, 1, 64)
        for view in layer_views:
            check_slots(view, tokens)
        self.views, self.numbers = view_table(layer_views)
        self.tokens = tokens
        paged = [view for view in self.views if view.page]
        self._paged = PagedSlots(paged[0], tokens) if paged else None
        members = self._paged.signature.members if paged else {}
        more = {name: members[name] for name in ("group", *TABLE) if paged}
        asked = data.StructLayout({"layer": 8, "token": unsigned(token_width(tokens))})
        super().__init__(
            {
                "position": In(POSITION_WIDTH),
                "ready": Out(1),
                "asked": In(asked).array(2),
                "slot": Out(SLOT).array(2),
                "seen": Out(seen_shape(len(self.views), tokens)),
                **more,
            }
        )

    def elaborate(self, platform):
        m = Module()
        wraps = any(view.wraps for view in self.views)
        known = self._work_out(m) if wraps else 1
        paged = self._pages(m) if self._paged else None
        m.d.comb += self.ready.eq(known & paged.ready if paged else known)
        for view, tokens in zip(self.views, self.seen, strict=True):
            if not view.wraps:
                m.d.comb += [seen.slot.eq(self.position + n) for n, seen in enumerate(tokens)]
        for asked, slot in zip(self.asked, self.slot, strict=True):
            token = asked.token if self.tokens > 1 else 0
            if not wraps:
                linear = self.position + token
                m.d.comb += slot.eq(Array(paged.slots)[token] if paged else linear)
                continue
            number = Array(self.numbers)[asked.layer] if len(self.views) > 1 else 0
            m.d.comb += slot.eq(self.seen[number][token].slot)
            if paged:
                with m.If(Array(view.page > 0 for view in self.views)[number]):
                    m.d.comb += slot.eq(Array(paged.slots)[token])
        return m

    def _pages(self, m):
        """The paged slots, whose table others read."""
        m.submodules.paged = paged = self._paged
        m.d.comb += [paged.position.eq(self.position), paged.group.eq(self.group)]
        for n, block in enumerate(self.block):
            m.d.comb += [
                paged.entry[n].eq(self.entry[n]),
                paged.entry_en[n].eq(self.entry_en[n]),
                block.eq(paged.block[n]),
            ]
        return paged

    def _work_out(self, m):
        """The rings' slots, bit by bit, then token by token; whether they are known."""
        settled, first = Signal(POSITION_WIDTH), Signal(init=1)
        position, rest = Signal(POSITION_WIDTH + 1), Signal(range(self.tokens))
        count = Signal(range(POSITION_WIDTH))
        changed, known = Signal(), Signal()
        m.d.comb += changed.eq(first | (self.position != settled))
        with m.FSM() as fsm:
            with m.State("SETTLED"):
                m.d.comb += known.eq(~changed)
                m.d.sync += [position.eq(self.position), count.eq(0)]
                with m.If(changed):
                    m.d.sync += [settled.eq(self.position), first.eq(0)]
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.sync += [count.eq(count + 1), rest.eq(self.tokens - 1)]
                with m.If(count == POSITION_WIDTH - 1):
                    m.next = "TOKENS"
            with m.State("TOKENS"):
                m.d.sync += [position.eq(position + 1), rest.eq(rest - 1)]
                with m.If(rest == 0):
                    m.next = "SETTLED"
        dividing, counting = fsm.ongoing("DIVIDE"), fsm.ongoing("TOKENS")
        for view, tokens in zip(self.views, self.seen, strict=True):
            if view.wraps:
                slot = self._remainder(m, view.slots, position, dividing, counting)
                self._tokens(m, view, slot, position, counting, tokens)
        return known

    def _remainder(self, m, slots, position, dividing, counting):
        """The slot of ``position``: its remainder when the division ends, then counted on."""
        if slots & (slots - 1) == 0:
            return position[: slots.bit_length() - 1]
        rest, bits = Signal(range(2 * slots)), Signal(POSITION_WIDTH)
        following, less = Signal(range(2 * slots)), Signal(range(-slots, slots))
        m.d.comb += following.eq(Mux(counting, rest + 1, (rest << 1) | bits[-1]))
        m.d.comb += less.eq(following - slots)
        with m.If(dividing | counting):
            m.d.sync += [rest.eq(Mux(less < 0, following, less)), bits.eq(bits << 1)]
        with m.Else():
            m.d.sync += [rest.eq(0), bits.eq(self.position)]
        return rest

    def _tokens(self, m, view, slot, position, counting, tokens):
        """What each token sees: the last token's first, and moved along."""
        behind = Signal(range(-view.slots, view.slots))
        full = Signal()
        m.d.comb += [behind.eq(slot - (view.window - 1)), full.eq(position >= view.window)]
        with m.If(counting):
            for seen, after in pairwise(tokens):
                m.d.sync += seen.eq(after)
            last = tokens[-1]
            wrapped = full & (behind < 0)
            m.d.sync += [
                last.slot.eq(slot),
                last.wrapped.eq(wrapped),
                last.oldest.eq(Mux(full, Mux(wrapped, behind + view.slots, behind), 0)),
            ]
