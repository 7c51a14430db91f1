"""The k largest logits as they stream by, and sampling among them."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, choose, first_largest
from celosia.rtl.stream.words import framed
from celosia.rtl.token.sampler import Sampler

__all__ = ["TopK", "TopKSampler"]

LOGIT = 24
TOKEN = 20
FAN_IN = 2  # candidates compared in one cycle


class TopK(wiring.Component):
    """The ``k`` largest logits and their tokens, largest first, the lowest token of equals first.

    Equal to :func:`celosia.reference.units.top_k.top_k`.

    Each lane keeps its own ``k`` largest in order, or all where it has fewer; after the last word
    they are merged, which takes ``k * (levels + 1)`` cycles, where ``levels`` is ``log2(lanes)``,
    and at least 1. No word is accepted meanwhile. Latency ``levels + 3`` cycles from an operation's
    last word. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    k : int, 1 to 64
    vocab_size : int, ``k`` to 2**20

    Members
    -------
    i : In(stream of framed(lanes, 24))
        One token's logits. Lanes of tokens from ``vocab_size`` on do not count.
    o : Out(stream of {token: unsigned(20), logit: signed(24), rank: unsigned, last: 1})
        ``k`` of them for each operation.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, k, vocab_size):
        check_power_of_two("lanes", lanes, 64)
        check_range("k", k, 1, 64)
        check_range("vocab_size", vocab_size, k, 1 << TOKEN)
        self.lanes = lanes
        self.k = k
        self.vocab_size = vocab_size
        self._levels = max(1, -(-exact_log2(lanes) // exact_log2(FAN_IN)))
        self.latency = self._levels + 3
        rank = unsigned(max(1, ceil_log2(k)))
        o = {"token": unsigned(TOKEN), "logit": signed(LOGIT), "rank": rank, "last": 1}
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, LOGIT))),
                "o": Out(stream.Signature(data.StructLayout(o))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        o, merging, pop = self.o.p, Signal(), Signal()
        wait, rank = Signal(range(self._levels + 2)), Signal.like(self.o.p.rank)
        taken, entering = Signal(), Signal()  # a word, and its logits among the entries
        m.d.comb += [
            self.i.ready.eq(~merging),
            taken.eq(self.i.valid & self.i.ready),
            pop.eq(merging & (wait == 0) & (~self.o.valid | self.o.ready)),
        ]
        m.d.sync += entering.eq(taken)
        heads, wins = [], []
        for lane in range(self.lanes):
            wins.append(Signal(name=f"win_{lane}"))
            heads.append(
                self._lane(m, lane, entering, pop & wins[lane], pop & (rank == self.k - 1))
            )

        lanes = [Const(1 << lane, self.lanes) for lane in range(self.lanes)]
        best = [{"key": key, "lane": lane} for key, lane in zip(heads, lanes, strict=True)]
        for _ in range(self._levels):
            groups = [best[n : n + FAN_IN] for n in range(0, len(best), FAN_IN)]
            best = [_register(m, _largest(m, group)) for group in groups]
        best = best[0]
        m.d.comb += Cat(*wins).eq(best["lane"])
        key = best["key"]

        with m.If(taken & self.i.p.last):
            m.d.sync += [merging.eq(1), wait.eq(self._levels + 1)]
        with m.If(merging & (wait != 0)):
            m.d.sync += wait.eq(wait - 1)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(pop):
            m.d.sync += [
                self.o.valid.eq(1),
                o.token.eq(~key[:TOKEN]),
                o.logit.eq(Cat(key[TOKEN:-2], ~key[-2])),
                o.rank.eq(rank),
                o.last.eq(rank == self.k - 1),
                rank.eq(rank + 1),
                wait.eq(self._levels),
            ]
            with m.If(rank == self.k - 1):
                m.d.sync += [merging.eq(0), rank.eq(0)]
        return m

    def _lane(self, m, lane, entering, pop, clear):
        """The key of the largest of one lane's entries; ``pop`` drops it, ``clear`` all.

        A key orders entries: whether there is one, its logit, and how low its token is.
        """
        word = self.i.p
        whole, rest = divmod(self.vocab_size, self.lanes)
        logit = word.data[lane]
        counts = (word.index < whole) | ((word.index == whole) if lane < rest else 0)
        token = Cat(Const(lane, exact_log2(self.lanes)), word.index)[:TOKEN]
        new = Signal(TOKEN + LOGIT + 1)
        m.d.sync += new.eq(Cat(~token, logit[:-1], ~logit[-1], counts))
        kept = range(min(self.k, -(-self.vocab_size // self.lanes)))
        entries = [Signal.like(new, name=f"entry_{lane}_{n}") for n in kept]
        larger = [Signal(name=f"larger_{lane}_{n}") for n in kept]
        m.d.comb += [
            a.eq(new[TOKEN:] > entry[TOKEN:]) for a, entry in zip(larger, entries, strict=True)
        ]
        with m.If(clear):
            m.d.sync += [entry.eq(0) for entry in entries]
        with m.Elif(pop):
            m.d.sync += [a.eq(b) for a, b in zip(entries, [*entries[1:], Const(0)], strict=True)]
        with m.Elif(entering):
            for n, entry in enumerate(entries):
                above, shifted = (larger[n - 1], entries[n - 1]) if n else (0, new)
                with m.If(larger[n]):
                    m.d.sync += entry.eq(Mux(above, shifted, new))
        return entries[0]


class TopKSampler(wiring.Component):
    """Samples among the ``k`` largest logits: greedily, or by the Gumbel maximum.

    Bit-exact with :class:`celosia.reference.units.top_k.TopKSampler`.

    Latency ``latency`` cycles from an operation's last word. Throughput 1 word per cycle until
    then; the next word is accepted before the token is given.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    k : int, 1 to 64
    vocab_size : int, ``k`` to 2**20
    fraction : int, 11 to 19
        Logits are in units of ``2**-fraction``.

    Members
    -------
    temperature : In(unsigned(12))
        In units of 1/256; 0 is greedy. Constant from an operation's first word to its token.
    seed : In(stream of unsigned(32))
        Sets the generator, between operations.
    i : In(stream of framed(lanes, 24))
    o : Out(stream of {token: unsigned(20), logit: signed(24)})

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, k, vocab_size, fraction=12):
        self._top = TopK(lanes, k, vocab_size)
        self._sampler = Sampler(1, k, fraction)
        self.lanes = lanes
        self.k = k
        self.vocab_size = vocab_size
        self.fraction = fraction
        self.latency = k * (self._top.latency - 2) + self._sampler.latency + 3
        super().__init__(
            {
                "temperature": In(12),
                "seed": In(stream.Signature(32)),
                "i": In(stream.Signature(framed(lanes, LOGIT))),
                "o": Out(stream.Signature(self._sampler.o.p.shape())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.top = top = self._top
        m.submodules.sampler = sampler = self._sampler
        tokens = memory.Memory(shape=TOKEN, depth=max(self.k, 2), init=[])
        m.submodules.tokens = tokens
        write, read = tokens.write_port(), tokens.read_port()
        wiring.connect(m, wiring.flipped(self.i), top.i)
        wiring.connect(m, wiring.flipped(self.seed), sampler.seed)

        # Ranks go to the sampler in place of tokens, while no earlier one's token is looked for.
        looking, moved = Signal(), Signal()
        m.d.comb += [
            sampler.temperature.eq(self.temperature),
            sampler.i.p.data[0].eq(top.o.p.logit),
            sampler.i.p.index.eq(top.o.p.rank),
            sampler.i.p.last.eq(top.o.p.last),
            sampler.i.valid.eq(top.o.valid & ~looking),
            top.o.ready.eq(sampler.i.ready & ~looking),
            moved.eq(top.o.valid & top.o.ready),
            write.en.eq(moved),
            write.addr.eq(top.o.p.rank),
            write.data.eq(top.o.p.token),
        ]
        pipe = Pipeline(m, sampler.o, self.o)
        m.d.comb += [read.addr.eq(sampler.o.p.token), read.en.eq(pipe.advance)]
        with m.If(moved & top.o.p.last):
            m.d.sync += looking.eq(1)
        with m.Elif(sampler.o.valid & pipe.advance):
            m.d.sync += looking.eq(0)
        (logit,) = pipe.stage(sampler.o.p.logit)
        pipe.finish({"token": read.data, "logit": logit})
        return m


def _largest(m, candidates):
    """The candidate of the largest key, the first among equals."""
    bits = first_largest(m, [c["key"] for c in candidates])
    return {name: choose(bits, [c[name] for c in candidates]) for name in ("key", "lane")}


def _register(m, candidate):
    """``candidate`` a cycle later."""
    kept = {name: Signal(len(value)) for name, value in candidate.items()}
    m.d.sync += [kept[name].eq(value) for name, value in candidate.items()]
    return kept
