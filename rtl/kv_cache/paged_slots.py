"""The slots of a group's positions in a paged cache: its pages are taken as they are needed."""

from amaranth import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.kv_cache.kv_paged import KvPaged, Operation
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.words import token_width

__all__ = ["PagedSlots"]


class PagedSlots(wiring.Component):
    """The slot of each position of a group, of the one sequence that there is.

    A group's first position ends what was there from it on, and its pages become free; then the
    sequence grows up to the group's last one. Equal to a FREE and APPENDs of
    :class:`celosia.reference.units.kv_controller.KvPaged`.

    Latency ``20 + 9 * tokens`` cycles from ``position`` to ``ready``, and 5 for each page that
    becomes free.

    Parameters
    ----------
    view : celosia.reference.view.PagedView
    tokens : int, 1 to 64

    Members
    -------
    position, group : In(unsigned(20)), In(unsigned)
        Of the group's first token, and the number of its last.
    ready : Out(1)
        ``slots`` are those of ``position``.
    slots : Out(unsigned(20), tokens times)
    entry, entry_en, block
        The page table's, see :class:`KvPaged`.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, view, tokens=1):
        check_range("tokens", tokens, 1, 64)
        pages = view.slots // view.page
        self._table = KvPaged(pages, view.page, 1, 1 << ceil_log2(pages))
        self.tokens = tokens
        members = self._table.signature.members
        super().__init__(
            {
                "position": In(20),
                "group": In(token_width(tokens)),
                "ready": Out(1),
                "slots": Out(20).array(tokens),
                **{name: members[name] for name in ("entry", "entry_en", "block")},
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = self._table
        for n, block in enumerate(self.block):
            m.d.comb += [
                table.entry[n].eq(self.entry[n]),
                table.entry_en[n].eq(self.entry_en[n]),
                block.eq(table.block[n]),
            ]
        asked = Cat(self.position, self.group)
        settled, first, answer = Signal.like(asked), Signal(init=1), table.o.p
        m.d.comb += [table.i.p.length.eq(self.position), table.o.ready.eq(1)]
        with m.FSM():
            with m.State("SETTLED"):
                m.d.comb += self.ready.eq(~first & (asked == settled))
                with m.If(~self.ready):
                    m.d.sync += [settled.eq(asked), first.eq(0)]
                    m.next = "FREE"
            with m.State("FREE"):
                m.d.comb += [table.i.valid.eq(1), table.i.p.operation.eq(Operation.FREE)]
                m.next = "FREED"
            with m.State("FREED"), m.If(table.o.valid):
                m.next = "APPEND"
            with m.State("APPEND"):
                m.d.comb += [table.i.valid.eq(1), table.i.p.operation.eq(Operation.APPEND)]
                with m.If(table.i.ready):
                    m.next = "APPENDED"
            with m.State("APPENDED"), m.If(table.o.valid):
                token = (answer.position - self.position)[: len(self.group)]
                slots = Array(self.slots)
                m.d.sync += slots[token if self.tokens > 1 else 0].eq(answer.slot)
                m.next = "APPEND"
                with m.If(answer.position == self.position + self.group):
                    m.next = "SETTLED"
        return m
