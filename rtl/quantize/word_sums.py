"""A Hadamard transform across neighbouring words, lane by lane, of several tokens in turn."""

from amaranth import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.heads import head_place
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.words import INDEX_WIDTH, framed

__all__ = ["WordSums"]


class WordSums(wiring.Component):
    """Each ``words`` neighbouring words ``x`` of a token become ``H x``, ``H`` Sylvester's matrix.

    Exact. Words come and leave index by index, within an index token by token.

    Latency :attr:`latency` cycles from the last word of such a block to its first result.
    Throughput 1 word per cycle: a block is read while the next one comes.

    Parameters
    ----------
    lanes : int, 1 to 64
    words : int, a power of two from 2 to 64
    width : int, 4 to 24
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of framed(lanes, width, tokens))
        Operations of whole blocks, indices from 0; the tokens of an operation from 0.
    o : Out(stream of framed(lanes, width + log2(words), tokens))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, words, width, tokens=1):
        check_range("lanes", lanes, 1, 64)
        check_power_of_two("words", words, 64)
        check_range("words", words, 2, 64)
        check_range("width", width, 4, 24)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.words = words
        self.width = width
        self.tokens = tokens
        self.levels = exact_log2(words)
        self.latency = -(-self.levels // 2) + 2
        o = framed(lanes, width + self.levels, tokens)
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, width, tokens))),
                "o": Out(stream.Signature(o)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        about = {name: self.i.p[name].shape() for name in ("token", "argument", "last")}
        about = data.StructLayout({"first": INDEX_WIDTH, **about})  # index; and the last token
        blocks = Array(Signal(about, name=f"block_{n}") for n in range(2))
        whole = Signal(range(3))  # blocks that are complete, of two
        half = self._write(m, blocks, whole)

        # A word of results for each place and token of the block, all of whose words are read.
        place, token, side = Signal(range(self.words)), Signal(self.i.p.token.shape()), Signal()
        block, ended = Signal(about), Signal()
        read = stream.Signature(0).create()
        final = token == block.token
        m.d.comb += [
            block.eq(blocks[side]),
            read.valid.eq(whole != 0),
            ended.eq(read.valid & read.ready & final & (place == self.words - 1)),
        ]
        with m.If(read.valid & read.ready):
            m.d.sync += token.eq(Mux(final, 0, token + 1))
            m.d.sync += [place.eq(place + final), side.eq(side ^ ended)]
        m.d.sync += whole.eq(whole + half - ended)
        pipe = Pipeline(m, read, self.o)
        index = (block.first + place)[:INDEX_WIDTH]
        frame = {"token": token, "index": index, "argument": block.argument}
        frame["last"] = block.last & final & (place == self.words - 1)
        x = [list(port) for port in self._read(m, side * self.tokens + token)]
        frame, place, x = pipe.stage(frame, place, x)
        for level in range(self.levels):
            pairs = zip(x[0::2], x[1::2], strict=True)
            x = [self._sums(a, b, place[level]) for a, b in pairs]
            if level % 2 or level == self.levels - 1:
                frame, place, x = pipe.stage(frame, place, x)
        pipe.finish({**frame, "data": x[0]})
        return m

    def _write(self, m, blocks, whole):
        """Words into the banks of their places, in turn on two sides; whether a block is whole."""
        i, side, complete = self.i.p, Signal(), Signal()
        place, _ = head_place(m, self.i, self.words)
        taken = self.i.valid & self.i.ready
        m.d.comb += [
            self.i.ready.eq(whole != 2),
            complete.eq(taken & (place == self.words - 1) & (i.token == blocks[side].token)),
        ]
        with m.If(taken & (place == 0)):
            m.d.sync += blocks[side].token.eq(i.token)
            with m.If(i.token == 0):
                m.d.sync += [blocks[side].first.eq(i.index), blocks[side].argument.eq(i.argument)]
        with m.If(complete):
            m.d.sync += [side.eq(~side), blocks[side].last.eq(i.last)]
        self._banks = []
        word = data.ArrayLayout(signed(self.width), self.lanes)
        for n in range(self.words):
            bank = Memory(shape=word, depth=2 * self.tokens, init=[])
            m.submodules[f"bank_{n}"] = bank
            port = bank.write_port()
            m.d.comb += [
                port.addr.eq(side * self.tokens + i.token),
                port.data.eq(i.data),
                port.en.eq(taken & (place == n)),
            ]
            self._banks.append(bank)
        return complete

    def _read(self, m, address):
        """What all banks hold there."""
        for bank in self._banks:
            port = bank.read_port(domain="comb")
            m.d.comb += port.addr.eq(address)
            yield port.data

    def _sums(self, a, b, minus):
        """``a + b``, or ``a - b``, lane by lane."""
        pairs = zip(a, b, strict=True)
        turned = [(x, y.as_unsigned() ^ minus.replicate(len(y))) for x, y in pairs]
        return [x + y.as_signed() + minus for x, y in turned]
