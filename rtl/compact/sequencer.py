"""The compact machine's sequence: instruction after instruction, layer after layer, per token."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.compact.control import token_layout
from celosia.rtl.compact.operation import control_layout, control_value, instruction_layout

__all__ = ["CompactSequencer", "run_layout"]


def run_layout(shape):
    """An instruction under way.

    ``word``, in the first three cycles, and its ``control`` and ``vector``, as long as it is under
    way; ``begin`` is its first cycle, ``going`` the others; ``left`` says
    that there are products still to be issued, ``valid`` that operands are there, the cycle after
    they were issued; ``count`` and ``beats`` how many products, and words in a dot product, there
    are; ``rewind`` that the tapes begin again. ``cache_base`` is the layer's first
    word of the cache, ``slot`` the token's place in the window, ``slot_bytes`` its first byte
    there; there are ``positions`` in the window, the token's included.
    """
    return data.StructLayout(
        {
            "word": instruction_layout(shape.bits),
            "control": control_layout(shape.bits["beats"]),
            "vector": shape.bits["vector"],
            "begin": 1,
            "going": 1,
            "left": 1,
            "valid": 1,
            "rewind": 1,
            "count": shape.bits["count"],
            "beats": shape.bits["beats"],
            "cache_base": range(shape.cache_words * shape.n_layers),
            "slot": range(shape.window),
            "slot_bytes": range(shape.window * shape.head_dim),
            "positions": range(shape.window + 1),
        }
    )


class CompactSequencer(wiring.Component):
    """Fetches the program's instructions for each token, and sees to their ends.

    The next instruction begins, which takes a cycle, when nothing of this one's operands is under
    way, 5 cycles behind its last product, though its last results are: if it may come ``soon``.
    Else they are written by then, 7 cycles behind it. A token ends when all is done.

    Parameters
    ----------
    shape : CompactShape
    program : list of Instruction

    Members
    -------
    token : In(stream of token_layout)
        Taken when the token has been processed.
    empty : In(1)
        Nothing is under way.
    issue : In(1)
        A product's operands are read.
    run : Out(run_layout)
    """

    def __init__(self, shape, program):
        self.shape = shape
        self.program = program
        super().__init__(
            {
                "token": In(stream.Signature(token_layout())),
                "empty": In(1),
                "issue": In(1),
                "run": Out(run_layout(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        s, run, token = self.shape, self.run, self.token
        control = run.control
        pc = Signal(range(max(256, len(self.program))))
        layer, left, over = Signal(range(s.n_layers)), Signal(s.bits["count"]), Signal()
        fetch, soon, begun = Signal(), Signal(), Signal(2)
        coming = self._fetch(m, pc)
        with m.If(fetch):
            m.d.sync += [control.eq(coming), run.vector.eq(run.word.vector), soon.eq(run.word.soon)]
        loops = control.loop & (layer != s.n_layers - 1)
        m.d.sync += begun.eq(Cat(run.begin, begun))
        with m.If(begun[1]):  # the next word is there two cycles later
            m.d.sync += pc.eq(Mux(loops, s.loop, pc + 1))
        recent, ends = Signal(4), Signal()  # issued so many cycles ago; the token does
        m.d.sync += recent.eq(Cat(self.issue, recent))
        m.d.comb += ends.eq(control.end | (control.stop & ~token.p.logits))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [layer.eq(0), run.cache_base.eq(0), pc.eq(1)]
                with m.If(token.valid):
                    m.next = "LOOK"
                    with m.If(token.p.position == 0):
                        m.d.sync += [pc.eq(0), run.positions.eq(1)]
                        m.d.sync += [run.slot.eq(0), run.slot_bytes.eq(0)]
            with m.State("LOOK"):
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += fetch.eq(1)
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += run.begin.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += run.going.eq(1)
                ended = Mux(ends, self.empty, soon | (recent[2:] == 0))
                with m.If(~run.left & (recent[:2] == 0) & ended):
                    m.d.comb += run.rewind.eq(control.rewind)
                    m.next = "FETCH"
                    with m.If(loops):
                        m.d.sync += layer.eq(layer + 1)
                        m.d.sync += run.cache_base.eq(run.cache_base + s.cache_words)
                    with m.If(ends):
                        m.d.comb += over.eq(1)
                        m.next = "IDLE"
        with m.If(over):
            m.d.sync += run.slot.eq(run.slot + 1)
            m.d.sync += run.slot_bytes.eq(run.slot_bytes + s.head_dim)
            with m.If(run.slot == s.window - 1):
                m.d.sync += [run.slot.eq(0), run.slot_bytes.eq(0)]
            with m.If(run.positions != s.window):
                m.d.sync += run.positions.eq(run.positions + 1)
        with m.If(run.begin):
            m.d.sync += left.eq(run.count)
        with m.Elif(self.issue):
            m.d.sync += left.eq(left - 1)
        words = Signal(range(s.window // s.columns + 1))
        m.d.sync += words.eq((run.positions + s.columns - 1) // s.columns)
        m.d.comb += [
            run.count.eq(Mux(control.each, words * s.columns, run.word.count)),
            run.beats.eq(Mux(control.along, words, control.beats)),
        ]
        m.d.comb += [token.ready.eq(over), run.left.eq(left != 0), run.valid.eq(recent[0])]
        return m

    def _fetch(self, m, pc):
        """The instruction at ``pc`` a cycle later; the control of that."""
        controls = list(dict.fromkeys(i.control for i in self.program))
        bits = self.shape.bits
        words = [i.pack(controls, bits) for i in self.program]
        m.submodules.instructions = store = memory.Memory(
            shape=unsigned(instruction_layout(bits).size), depth=max(256, len(words)), init=words
        )
        read = store.read_port()
        m.d.comb += [read.addr.eq(pc), self.run.word.eq(read.data)]
        control = Signal(control_layout(bits["beats"]))
        with m.Switch(self.run.word.kind):
            for kind, one in enumerate(controls):
                with m.Case(kind):
                    m.d.comb += control.eq(control_value(one, bits["beats"]))
        return control
