"""The units whose stream rules are proved, each at one small size, and under which conditions."""

from amaranth import unsigned
from celosia.protocol.messages import Info
from celosia.reference.view import PagedView, View
from celosia.rtl.activation.gate import Gate
from celosia.rtl.activation.soft_cap import SoftCap
from celosia.rtl.attention.head_quantize import HeadQuantize
from celosia.rtl.attention.rope import Rope
from celosia.rtl.attention.rope_angles import RopeAngles
from celosia.rtl.attention.rope_halves import HeadPairs, RopeHalves
from celosia.rtl.attention.softmax import Softmax
from celosia.rtl.attention.softmax_block import SoftmaxBlock
from celosia.rtl.attention.softmax_sum import SoftmaxSum
from celosia.rtl.functions.function_table import Function
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.functions.rsqrt import Rsqrt
from celosia.rtl.functions.sine import Sine
from celosia.rtl.host.frame import FrameReceiver, FrameTransmitter
from celosia.rtl.host.host_answers import HostAnswers
from celosia.rtl.host.host_commands import HostCommands
from celosia.rtl.host.host_link import HostLink
from celosia.rtl.host.uart import UartTransmitter
from celosia.rtl.kv_cache.kv_paged import KvPaged, entry_layout
from celosia.rtl.kv_cache.page_runs import PageRuns
from celosia.rtl.kv_cache.places import CachePlaces
from celosia.rtl.mac.bias import Bias
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.group_scales import GroupFormat, GroupScales
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.rtl.mac.output_stationary import OutputStationary
from celosia.rtl.mac.scale import Scale
from celosia.rtl.mac.weight_stationary import WeightStationary
from celosia.rtl.machine.collect import Collect
from celosia.rtl.machine.controller import Controller
from celosia.rtl.machine.program import Run
from celosia.rtl.machine.row_scales import RowScales
from celosia.rtl.machine.step import fetch_layout
from celosia.rtl.machine.tape_runs import TapeRuns
from celosia.rtl.memory.axi_tape import AxiReader
from celosia.rtl.memory.gearbox import Gearbox
from celosia.rtl.memory.sdram import Sdram
from celosia.rtl.memory.sdram_bursts import SdramBursts
from celosia.rtl.memory.sdram_timing import SdramTiming
from celosia.rtl.memory.spi_flash import SpiFlash
from celosia.rtl.memory.tape import Tape
from celosia.rtl.norm.layer_norm import LayerNorm
from celosia.rtl.norm.residual import Residual
from celosia.rtl.norm.rms_norm import RmsNorm
from celosia.rtl.norm.stream_norm import StreamNorm
from celosia.rtl.norm.sum_of_squares import SumOfSquares
from celosia.rtl.quantize.block_hadamard import BlockHadamard
from celosia.rtl.quantize.block_quantize import BlockQuantize
from celosia.rtl.quantize.dequantizer import Dequantizer
from celosia.rtl.quantize.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.quantize.hadamard import Hadamard
from celosia.rtl.quantize.hadamard_stages import Butterfly, Core
from celosia.rtl.quantize.quantizer import StaticQuantizer
from celosia.rtl.stream.block_queue import BlockQueue
from celosia.rtl.stream.buffer import Buffer, Skid
from celosia.rtl.stream.frame_guard import FrameGuard
from celosia.rtl.stream.merge import Merge
from celosia.rtl.stream.queue import Queue
from celosia.rtl.stream.reshape import Transposer, WidthConverter
from celosia.rtl.stream.words import framed
from celosia.rtl.token.embedding import Embedding
from celosia.rtl.token.embedding_words import EmbeddingWords
from celosia.rtl.token.router import Router
from celosia.rtl.token.sampler import Sampler
from celosia.rtl.token.top_k import TopK, TopKSampler
from formal_adapters import (
    AxiCaching,
    AxiReading,
    AxiTaping,
    AxiWriting,
    QueuedFetch,
    RegisterAccess,
    RetiringSequencer,
)

__all__ = ["ASSUMED", "BOUNDED", "QUICK", "UNITS", "page"]

NARROW = MacFormat(activation_width=4, weight_width=2)
INFO = Info(300, 100, 8, 4, 3, 25_000_000, b"abcdefgh", "a link")

# At 1 MHz a cycle is as long as most of a chip's times.
QUICK_SDRAM = SdramTiming(power_up=1, refresh=32000)

RUNS = [Run((0, 1), (0, 1)), Run((1, 2), (1, 2), True), Run((5, 1), (5, 1))]

UNITS = {
    "axi_block_writer": lambda: AxiWriting(2, 32),
    "axi_cache": AxiCaching,
    "axi_cache_reads": AxiCaching,
    "axi_cache_writes": AxiCaching,
    "axi_reader": lambda: AxiReading(AxiReader(32, 32, 16)),
    "axi_registers": RegisterAccess,
    "axi_tape": AxiTaping,
    "bias": lambda: Bias(2, 2),
    "block_hadamard": lambda: BlockHadamard(4, 4, 6, 2),
    "block_quantize": lambda: BlockQuantize(2, 20, 2),
    "block_queue": lambda: BlockQueue(unsigned(2), 4),
    "buffer": lambda: Buffer(unsigned(2)),
    "butterfly": lambda: Butterfly(1, 2, 4),
    "collect": lambda: Collect(2, 2, 1, 24),
    "controller": lambda: Controller(16, 2),
    "core": lambda: Core(1, 2, [[1, 1], [1, -1]]),
    "dequantizer": lambda: Dequantizer(2, 8, 8, 2, 8),
    "dynamic_quantizer": lambda: DynamicQuantizer(2, 2, 8, 4),
    "embedding": lambda: Embedding(1, [[1, 2], [3, 4]], [5, 6]),
    "embedding_words": lambda: EmbeddingWords(1, GroupFormat(2, 1, 2, True, planes=True)),
    "frame_guard": lambda: FrameGuard(framed(1, 2), 3),
    "frame_guard_shorter": lambda: FrameGuard(framed(1, 2), 3, shorter=True),
    "frame_receiver": lambda: FrameReceiver(100),
    "frame_transmitter": lambda: FrameTransmitter(),
    "function": lambda: Function("sigmoid"),
    "gate": lambda: Gate(2, 2),
    "gate_plain": lambda: Gate(2, 2, activation="relu", gated=False),
    "gate_squares": lambda: Gate(2, 2, activation="relu2"),
    "gearbox_cut": lambda: Gearbox(3, 8),
    "gearbox_gather": lambda: Gearbox(5, 4),
    "group_scales": lambda: GroupScales(1, 1, GroupFormat(4, 1, 1, True)),
    "hadamard": lambda: Hadamard(4, 2, 8),
    "head_pairs": lambda: HeadPairs(2, 2, 2),
    "head_quantize": lambda: HeadQuantize(2, 2, 2),
    "host_answers": lambda: HostAnswers(INFO),
    "host_commands": lambda: HostCommands(INFO),
    "host_link": lambda: HostLink(INFO, 50),
    "kv_paged": lambda: KvPaged(4, 2, 2, 2),
    "layer_norm": lambda: LayerNorm(2, 2, 8, 1, [1, 2, 3, 4], [0] * 4),
    "mac_fabric": lambda: MacFabric(2, 2, 1, MacFormat(8, 4), 24),
    "mac_fabric_blocks": lambda: MacFabric(2, 2, 1, MacFormat(8, 4), 24, results_in_blocks=True),
    "merge": lambda: Merge(4, 2),
    "operand_fetch": QueuedFetch,
    "operand_fetch_external": lambda: QueuedFetch(external_cache=True),
    "page_runs": lambda: PageRuns(fetch_layout(), PLACES, PAGED, entry_layout(1, 2)),
    "output_stationary": lambda: OutputStationary(2, 1, NARROW, 16),
    "queue": lambda: Queue(unsigned(2), 4),
    "reciprocal": lambda: Reciprocal(8),
    "residual": lambda: Residual(2, 4, 20, 2),
    "rms_norm": lambda: RmsNorm(2, 2, 20, 1, [[1, 2, 3, 4]], 2),
    "rope": lambda: Rope(2, 2, [[1, 2]]),
    "rope_angles": lambda: RopeAngles(2, 2, [[1, 2]]),
    "rope_sets": lambda: Rope(2, 2, [[1, 0], [0, 0]]),
    "rope_halves": lambda: RopeHalves(2, 2, [1, 2]),
    "router": lambda: Router(1, 2, 2, 14, True),
    "router_all": lambda: Router(2, 3, 2, 14, False),
    "row_scales": lambda: RowScales(2),
    "rsqrt": lambda: Rsqrt(8),
    "sampler": lambda: Sampler(2, 6),
    "scale": lambda: Scale(2, 16, 2),
    "sdram": lambda: Sdram(1e6, QUICK_SDRAM, 16),
    "sdram_bursts": SdramBursts,
    "sdram_reads": lambda: Sdram(1e6, QUICK_SDRAM, 16),
    "sequencer": RetiringSequencer,
    "sine": lambda: Sine(),
    "skid": lambda: Skid(unsigned(2)),
    "soft_cap": lambda: SoftCap(2, 128, 2),
    "softmax": lambda: Softmax(1, 2, 1.0, 4, 8),
    "softmax_block": lambda: SoftmaxBlock(2, 2),
    "softmax_block_views": lambda: SoftmaxBlock(2, 2, views=(View(4, 2), View(8))),
    "softmax_sum": lambda: SoftmaxSum(2, 2, 2),
    "spi_flash": lambda: SpiFlash(1e6),
    "static_quantizer": lambda: StaticQuantizer(2, [1, 2, 3, 4], 4),
    "stream_norm": lambda: StreamNorm(2, 2, 1, [[1, 2, 3, 4]], [0]),
    "sum_of_squares": lambda: SumOfSquares(2, 2, 20, 1, 2),
    "tape": lambda: Tape(unsigned(8), [1, 2, 3]),
    "tape_runs": lambda: TapeRuns(RUNS, 3),
    "top_k": lambda: TopK(2, 2, 4),
    "top_k_sampler": lambda: TopKSampler(2, 2, 4),
    "transposer": lambda: Transposer(2, 2),
    "uart_transmitter": lambda: UartTransmitter(8),
    "weight_stationary": lambda: WeightStationary(2, 1, NARROW),
    "width_converter_join": lambda: WidthConverter(1, 4, 2),
    "width_converter_split": lambda: WidthConverter(4, 1, 2),
}

PLACES, PAGED = CachePlaces(2, 2, (8,), 1, 1), PagedView(8, page=4)
BLOCKS = {"held": {"block": "entry_en"}}
STEPS = {"held": {"steps": "read_en"}}
SEEDLESS = {"idle": ["seed"]}
ONE_TOKEN = {"given": lambda unit: [unit.positions.p.tokens == 1]}
WRITTEN = {  # all activations
    "given": lambda unit: [
        *((mark.end == (1 << 20) - 1) & ~mark.falls for mark in unit.filled),
        ~unit.step.p.source_base[-1],
    ]
}
ROWS = {"given": lambda unit: [(unit.i.p.rows == 1) | (unit.i.p.rows == 2)]}
ANGLES = {"given": lambda unit: [unit.i.p.tokens == 1]}
ANSWERS = {"given": lambda unit: [unit.run.p.count != 0, unit.answers.all()]}
RECALLS = {"given": lambda unit: [unit.recall.p.words != 0, unit.recall.p.tiles != 0, unit.answers]}
WHOLE = {"given": lambda unit: [unit.i.p.last], "exact": True}  # groups of one word
QUIET = {"given": lambda unit: [~(unit.busy & unit.prompt.valid)]}  # no prompt during a run

# Proved from reset, for so many cycles: units whose states are many, and their patience.
BOUNDED = {
    ("axi_block_writer", "alive"): (14, {"patience": 4}),
    ("axi_cache", "alive"): (24, RECALLS | {"exact": True, "patience": 14}),
    ("axi_cache_reads", "alive"): (24, RECALLS | {"exact": True, "patience": 14}),
    ("axi_cache_writes", "alive"): (24, RECALLS | {"exact": True, "patience": 14}),
    ("axi_reader", "alive"): (24, ANSWERS | {"exact": True, "patience": 12}),
    ("axi_tape", "alive"): (24, ANSWERS | {"exact": True, "patience": 12}),
    ("controller", "stable"): (14, QUIET | {"exact": True}),
    ("dynamic_quantizer", "alive"): (36, {"patience": 30}),
    ("embedding", "alive"): (20, {"patience": 6}),
    ("frame_guard", "alive"): (16, {"patience": 6}),
    ("frame_guard_shorter", "alive"): (16, {"patience": 6}),
    ("frame_receiver", "alive"): (24, {"patience": 8}),
    ("frame_transmitter", "stable"): (24, {}),
    ("frame_transmitter", "alive"): (24, {"patience": 8}),
    ("group_scales", "stable"): (14, WHOLE),
    ("group_scales", "alive"): (14, WHOLE | {"patience": 4}),
    ("hadamard", "alive"): (24, {"patience": 16}),
    ("head_quantize", "alive"): (24, {"patience": 12}),
    ("host_answers", "alive"): (24, {"patience": 12}),
    ("host_commands", "stable"): (14, {"exact": True}),
    ("host_link", "stable"): (14, {}),
    ("host_link", "alive"): (18, {"patience": 12}),
    ("kv_paged", "stable"): (20, {}),
    ("kv_paged", "alive"): (30, {"patience": 19}),
    ("layer_norm", "alive"): (34, {"patience": 30}),
    ("mac_fabric", "stable"): (14, {"exact": True}),
    ("mac_fabric", "alive"): (20, {"patience": 12}),
    ("mac_fabric_blocks", "stable"): (14, {"exact": True}),
    ("mac_fabric_blocks", "alive"): (20, {"patience": 12}),
    ("operand_fetch", "stable"): (14, {"exact": True}),
    ("operand_fetch_external", "stable"): (14, {"exact": True}),
    ("operand_fetch", "alive"): (16, {"patience": 5} | WRITTEN),
    ("operand_fetch_external", "alive"): (16, {"patience": 5} | WRITTEN),
    ("output_stationary", "stable"): (14, ROWS | {"exact": True}),
    ("output_stationary", "alive"): (20, ROWS | {"patience": 12}),
    ("queue", "stable"): (14, {"exact": True}),
    ("queue", "alive"): (14, {"exact": True, "patience": 2}),
    ("rms_norm", "stable"): (14, {"exact": True}),
    ("rms_norm", "alive"): (23, {"patience": 19}),
    ("rope", "alive"): (35, {"patience": 29} | ONE_TOKEN),
    ("rope_sets", "alive"): (35, {"patience": 29} | ONE_TOKEN),
    ("rope_halves", "alive"): (45, {"patience": 37}),
    ("rope_angles", "alive"): (35, {"patience": 21} | ANGLES),
    ("router", "stable"): (20, {"exact": True}),
    ("router", "alive"): (30, {"exact": True, "patience": 20}),
    ("router_all", "stable"): (20, {"exact": True}),
    ("router_all", "alive"): (34, {"exact": True, "patience": 24}),
    ("sdram", "alive"): (60, {"patience": 36}),
    ("sdram_reads", "alive"): (60, {"patience": 36}),
    ("sequencer", "stable"): (14, {"exact": True}),
    ("sequencer", "alive"): (24, {"exact": True, "patience": 12}),
    ("softmax", "alive"): (36, {"patience": 30}),
    ("spi_flash", "alive"): (170, {"patience": 100}),
    ("stream_norm", "alive"): (32, {"exact": True, "patience": 8}),
    ("tape_runs", "alive"): (16, {"patience": 6}),
    ("top_k", "alive"): (20, {"patience": 4}),
    ("top_k_sampler", "alive"): (28, {"patience": 22}),
    ("uart_transmitter", "alive"): (100, {"patience": 81}),
    ("weight_stationary", "stable"): (14, {"exact": True}),
    ("weight_stationary", "alive"): (20, {"patience": 12}),
    ("width_converter_split", "alive"): (16, {"patience": 6}),
}

ASSUMED = {
    "axi_cache_reads": {"idle": ["keys", "values"]},
    "axi_cache_writes": {"idle": ["recall"]},
    "page_runs": BLOCKS,
    "row_scales": STEPS,
    "sampler": SEEDLESS,
    "sdram_reads": {"idle": ["write"]},
    "top_k_sampler": SEEDLESS,
}
QUICK = {
    "top_k",
    "queue",
    "frame_receiver",
    "frame_transmitter",
    "head_quantize",
}


PAGE = """# Which stream rules are proved

Written by `python tests/formal_units.py > docs/proofs.md`; `tests/test_formal.py` makes the proofs
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
between a sampler's words, row scales whose steps come from a memory, groups of one word for
GroupScales, runs of at least one word from a memory that answers at once for AxiReader, AxiTape
(two ports) and AxiCache, bursts that are answered in the next cycle for AxiBlockWriter and
AxiCache, operations of one block for AxiCache, and for the sequencer a program without waits, whose
operations end a cycle after they left. AXI's channels count as streams. "reads" and "writes" are
proofs with nothing else offered. Sdram runs at 1 MHz, where most of a chip's times are one cycle,
with a power-up of one cycle, 32 from refresh to refresh, and a buffer of 16 words; SpiFlash runs at
1 MHz too. What their chips answer is anything.

Nothing to prove: KeyCache, ValueCache, KeySteps, ActivationMemory, QueryMemory, ScoreMemory,
Saturations, NormStatistics and SoftmaxTotal take every word at once, and offer nothing that could
wait.

Not kept: UartReceiver, since a serial line has no back pressure. A byte that nobody has taken when
the next one is complete gives way to it; that is after 10 bits' time at the earliest.

Not proved: Machine and WordSums; benches run them under random stalls. AxiReader, AxiTape and
AxiCache are proved with buffers of 16 transfers; those of 512 have too many states. That the
SDRAM's controller keeps the chip's times, and that what is read is what was written, is for the
benches with a model of the chip to show.
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


if __name__ == "__main__":
    print(page(), end="")
