"""The stream rules of every unit, proved; and the prover itself, on units that break them."""

from pathlib import Path

import pytest
from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.block_quantize import BlockQuantize
from celosia.rtl.collect import Collect
from celosia.rtl.controller import Controller
from celosia.rtl.dequantizer import Dequantizer
from celosia.rtl.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.embedding import Embedding
from celosia.rtl.embedding_words import EmbeddingWords
from celosia.rtl.frame import FrameReceiver, FrameTransmitter
from celosia.rtl.frame_guard import FrameGuard
from celosia.rtl.function_table import Function
from celosia.rtl.gearbox import Gearbox
from celosia.rtl.group_scales import GroupFormat
from celosia.rtl.hadamard import Hadamard
from celosia.rtl.head_quantize import HeadQuantize
from celosia.rtl.host_link import HostLink
from celosia.rtl.kv_controller import KvLinear, KvRing
from celosia.rtl.kv_paged import KvPaged
from celosia.rtl.kv_store import KvStore
from celosia.rtl.layer_norm import LayerNorm
from celosia.rtl.mac_fabric import MacFabric
from celosia.rtl.merge import Merge
from celosia.rtl.operand_fetch import OperandFetch
from celosia.rtl.quantizer import StaticQuantizer
from celosia.rtl.reciprocal import Reciprocal
from celosia.rtl.reshape import Transposer, WidthConverter
from celosia.rtl.residual import Residual
from celosia.rtl.rms_norm import RmsNorm
from celosia.rtl.rope import Rope
from celosia.rtl.rope_angles import RopeAngles
from celosia.rtl.rope_halves import HeadPairs, RopeHalves
from celosia.rtl.row_scales import RowScales
from celosia.rtl.rsqrt import Rsqrt
from celosia.rtl.sampler import Sampler
from celosia.rtl.scale import Scale
from celosia.rtl.sine import Sine
from celosia.rtl.softmax import Softmax
from celosia.rtl.softmax_block import SoftmaxBlock
from celosia.rtl.softmax_sum import SoftmaxSum
from celosia.rtl.sum_of_squares import SumOfSquares
from celosia.rtl.swiglu import SwiGlu
from celosia.rtl.systolic_array import OutputStationary, WeightStationary
from celosia.rtl.systolic_format import SystolicFormat
from celosia.rtl.tape import Tape
from celosia.rtl.top_k import TopK, TopKSampler
from celosia.rtl.words import framed
from celosia.sim.formal import Refuted, prove
from celosia.sim.messages import Info

NARROW = SystolicFormat(activation_width=4, weight_width=2)
INFO = Info(300, 100, 8, 4, 3, 25_000_000, b"abcdefgh", "a link")

UNITS = {
    "block_quantize": lambda: BlockQuantize(2, 20, 2),
    "collect": lambda: Collect(2, 2, 1, 24),
    "controller": lambda: Controller(16, 2),
    "dequantizer": lambda: Dequantizer(2, 8, 8, 2, 8),
    "dynamic_quantizer": lambda: DynamicQuantizer(2, 2, 8, 4),
    "embedding": lambda: Embedding(1, [[1, 2], [3, 4]], [5, 6]),
    "embedding_words": lambda: EmbeddingWords(1, GroupFormat(2, 1, 2, True, planes=True)),
    "frame_guard": lambda: FrameGuard(framed(1, 2), 3),
    "frame_guard_shorter": lambda: FrameGuard(framed(1, 2), 3, shorter=True),
    "frame_receiver": lambda: FrameReceiver(100),
    "frame_transmitter": lambda: FrameTransmitter(),
    "function": lambda: Function("sigmoid"),
    "gearbox_cut": lambda: Gearbox(3, 8),
    "gearbox_gather": lambda: Gearbox(5, 4),
    "hadamard": lambda: Hadamard(4, 2, 8),
    "head_pairs": lambda: HeadPairs(2, 2, 2),
    "head_quantize": lambda: HeadQuantize(2, 2, 2),
    "host_link": lambda: HostLink(INFO, 50),
    "kv_linear": lambda: KvLinear(3, 2, 2),
    "kv_paged": lambda: KvPaged(4, 2, 2, 2),
    "kv_ring": lambda: KvRing(4, 3, 2, 2),
    "kv_store": lambda: KvStore(2, 2, 2, 4, 8),
    "layer_norm": lambda: LayerNorm(2, 2, 8, 1, [1, 2, 3, 4], [0] * 4),
    "mac_fabric": lambda: MacFabric(2, 2, 1, 4, 24),
    "merge": lambda: Merge(4, 2),
    "operand_fetch": lambda: OperandFetch(2, 2, 1, 4),
    "operand_fetch_external": lambda: OperandFetch(2, 2, 1, 4, external_cache=True),
    "output_stationary": lambda: OutputStationary(2, 1, NARROW, 16),
    "reciprocal": lambda: Reciprocal(8),
    "residual": lambda: Residual(2, 4, 20, 2),
    "rms_norm": lambda: RmsNorm(2, 2, 20, 1, [[1, 2, 3, 4]], 2),
    "rope": lambda: Rope(2, 2, [1, 2]),
    "rope_angles": lambda: RopeAngles(2, 2, [1, 2]),
    "rope_halves": lambda: RopeHalves(2, 2, [1, 2]),
    "row_scales": lambda: RowScales(2),
    "rsqrt": lambda: Rsqrt(8),
    "sampler": lambda: Sampler(2, 6),
    "scale": lambda: Scale(2, 16, 2),
    "sine": lambda: Sine(),
    "softmax": lambda: Softmax(1, 2, 1.0, 4, 8),
    "softmax_block": lambda: SoftmaxBlock(2, 2),
    "softmax_sum": lambda: SoftmaxSum(2, 2, 2),
    "static_quantizer": lambda: StaticQuantizer(2, [1, 2, 3, 4], 4),
    "sum_of_squares": lambda: SumOfSquares(2, 2, 20, 1, 2),
    "swiglu": lambda: SwiGlu(2, 2),
    "tape": lambda: Tape(unsigned(8), [1, 2, 3]),
    "top_k": lambda: TopK(2, 2, 4),
    "top_k_sampler": lambda: TopKSampler(2, 2, 4),
    "transposer": lambda: Transposer(2, 2),
    "weight_stationary": lambda: WeightStationary(2, 1, NARROW),
    "width_converter_join": lambda: WidthConverter(1, 4, 2),
    "width_converter_split": lambda: WidthConverter(4, 1, 2),
}

STEPS = {"held": {"steps": "read_en"}}
SEEDLESS = {"idle": ["seed"]}
ONE_TOKEN = {"given": lambda unit: [unit.positions.p.tokens == 1]}
WRITTEN = {  # all activations
    "given": lambda unit: [*(f == (1 << 20) - 1 for f in unit.filled), ~unit.step.p.source_base[-1]]
}
ROWS = {"given": lambda unit: [(unit.i.p.rows == 1) | (unit.i.p.rows == 2)]}
ANGLES = {"given": lambda unit: [unit.i.p.tokens == 1]}
QUIET = {"given": lambda unit: [~(unit.busy & unit.prompt.valid)]}  # no prompt during a run

# Proved from reset, for so many cycles: units whose states are many, and their patience.
BOUNDED = {
    ("controller", "stable"): (14, QUIET | {"exact": True}),
    ("dynamic_quantizer", "alive"): (36, {"patience": 30}),
    ("embedding", "alive"): (20, {"patience": 6}),
    ("frame_guard", "alive"): (16, {"patience": 6}),
    ("frame_guard_shorter", "alive"): (16, {"patience": 6}),
    ("frame_receiver", "alive"): (24, {"patience": 8}),
    ("frame_transmitter", "stable"): (24, {}),
    ("frame_transmitter", "alive"): (24, {"patience": 8}),
    ("hadamard", "alive"): (24, {"patience": 16}),
    ("head_quantize", "alive"): (24, {"patience": 12}),
    ("host_link", "stable"): (14, {}),
    ("host_link", "alive"): (18, {"patience": 12}),
    ("kv_linear", "alive"): (20, {"patience": 7}),
    ("kv_paged", "stable"): (20, {}),
    ("kv_paged", "alive"): (24, {"patience": 15}),
    ("kv_ring", "alive"): (20, {"patience": 7}),
    ("kv_store", "alive"): (36, {"patience": 30}),
    ("layer_norm", "alive"): (34, {"patience": 30}),
    ("mac_fabric", "stable"): (14, {"exact": True}),
    ("mac_fabric", "alive"): (20, {"patience": 12}),
    ("operand_fetch", "alive"): (16, {"patience": 5} | WRITTEN),
    ("operand_fetch_external", "alive"): (16, {"patience": 5} | WRITTEN),
    ("output_stationary", "stable"): (14, ROWS | {"exact": True}),
    ("output_stationary", "alive"): (20, ROWS | {"patience": 12}),
    ("rms_norm", "stable"): (14, {"exact": True}),
    ("rms_norm", "alive"): (20, {"patience": 16}),
    ("rope", "alive"): (30, {"patience": 24} | ONE_TOKEN),
    ("rope_halves", "alive"): (40, {"patience": 32}),
    ("rope_angles", "alive"): (30, {"patience": 16} | ANGLES),
    ("softmax", "alive"): (36, {"patience": 30}),
    ("top_k_sampler", "alive"): (26, {"patience": 20}),
    ("weight_stationary", "stable"): (14, {"exact": True}),
    ("weight_stationary", "alive"): (20, {"patience": 12}),
    ("width_converter_split", "alive"): (16, {"patience": 6}),
}

ASSUMED = {"row_scales": STEPS, "sampler": SEEDLESS, "top_k_sampler": SEEDLESS}
QUICK = {"frame_receiver", "frame_transmitter", "head_quantize", "rope_angles", "kv_linear"}


def cases(bounded):
    for name in UNITS:
        for rule in ("stable", "alive"):
            if ((name, rule) in BOUNDED) == bounded:
                marks = [pytest.mark.slow] if bounded and name not in QUICK else []
                yield pytest.param(name, rule, marks=marks, id=f"{name}-{rule}")


@pytest.mark.parametrize(("name", "rule"), [*cases(bounded=False)])
def test_rule_holds_for_ever(name, rule):
    prove(UNITS[name](), rule, **ASSUMED.get(name, {}))


@pytest.mark.parametrize(("name", "rule"), [*cases(bounded=True)])
def test_rule_holds_from_reset(name, rule):
    depth, assumed = BOUNDED[name, rule]
    prove(UNITS[name](), rule, depth, **ASSUMED.get(name, {}) | assumed)


PAGE = """# Which stream rules are proved

Written by `python tests/test_formal.py > docs/proofs.md`; `tests/test_formal.py` makes the proofs
(those of many states belong to `make test-slow`), `sim/formal.py` describes the rules:

- stable: an offer stays, and does not change, until it is taken;
- alive: `valid` does not wait for `ready`, and nothing hangs under any pattern of stalls: of the
  cycles in which every input is offered and every offered output is taken, so many (4 where the
  table does not say) do not pass without a transfer.

"always" is a proof by induction for all times; "n cycles" one for all runs of n cycles from reset.
Each holds for the unit at one small size, for every input, and for anything that multipliers and
memories might give ("exact": memories as they are).

| unit | stable | alive |
|---|---|---|
{rows}

Further conditions: activations written before they are fetched, `positions` and angles for one
token, 1 to `rows` rows in an output-stationary tile, no prompt while the controller runs, seeds not
between a sampler's words, and row scales whose steps come from a memory.

Not proved: the units with a memory or a bus of the machine (AxiReader, AxiTape, AxiBlockWriter,
AxiCache, AxiRegisters, GroupScales, KeyCache, ValueCache, ActivationMemory, QueryMemory,
ScoreMemory, Sequencer), the UARTs, the parts of HostLink and Hadamard by themselves, and Machine.
Their benches run them under random stalls.
"""


def page():
    """docs/proofs.md."""
    rows = []
    for name in sorted(UNITS):
        cells = [name]
        for rule in ("stable", "alive"):
            depth, more = BOUNDED.get((name, rule), (None, {}))
            cell = f"{depth} cycles" if depth else "always"
            cell += ", exact" if more.get("exact") else ""
            cell += f", {more['patience']} at most" if "patience" in more else ""
            cells.append(cell)
        rows.append(f"| {' | '.join(cells)} |")
    return PAGE.format(rows="\n".join(rows))


def test_page():
    assert (Path(__file__).parents[1] / "docs" / "proofs.md").read_text() == page()


class Register(wiring.Component):
    """A register between two streams, with one fault or none."""

    i: In(stream.Signature(unsigned(4)))
    o: Out(stream.Signature(unsigned(4)))

    def __init__(self, fault=None):
        self.fault = fault
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        advance, valid, payload = Signal(), Signal(), Signal(4)
        age = Signal(3)
        m.d.sync += age.eq(Mux(self.o.valid & self.o.ready, age + 1, age))
        m.d.comb += [
            advance.eq(self.o.ready | ~valid),
            self.i.ready.eq(advance),
            self.o.valid.eq(valid),
            self.o.payload.eq(payload),
        ]
        if self.fault == "changes":
            m.d.comb += self.o.payload.eq(payload ^ self.i.payload[0])
        if self.fault == "withdraws":
            m.d.comb += self.o.valid.eq(valid & ~self.i.valid)
        if self.fault == "overwrites":
            m.d.comb += [advance.eq(1), self.i.ready.eq(1)]
        if self.fault == "waits for ready":
            m.d.comb += [self.o.valid.eq(valid & self.o.ready), advance.eq(self.o.ready)]
        if self.fault == "hangs":
            m.d.comb += self.i.ready.eq(advance & (age != 3))
        with m.If(advance):
            m.d.sync += [valid.eq(self.i.valid & self.i.ready), payload.eq(self.i.payload)]
        return m


@pytest.mark.parametrize("rule", ["stable", "alive"])
def test_a_good_register_is_proved(rule):
    prove(Register(), rule)
    prove(Register(), rule, depth=6)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("changes", "stable"),
        ("withdraws", "stable"),
        ("overwrites", "stable"),
        ("waits for ready", "alive"),
        ("hangs", "alive"),
    ],
)
def test_a_faulty_register_is_refuted(fault, rule):
    with pytest.raises(Refuted, match=f"Register breaks the rule '{rule}'"):
        prove(Register(fault), rule, depth=16)
    with pytest.raises(Refuted, match=f"the rule '{rule}'"):
        prove(Register(fault), rule)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "fair"}, "rule must be one of stable, alive, not 'fair'"),
        ({"rule": "alive", "idle": ["seed"]}, r"idle must be among \['i'\], not 'seed'"),
        ({"rule": "stable", "held": {"x": "i__ready"}}, "held must be of .*, not 'x'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        prove(Register(), **arguments)


if __name__ == "__main__":
    print(page(), end="")
