"""Plant single faults in units and show that the units' tests catch every one.

    python bench/mutations.py [NAME ...] [--json FILE]

Each fault is one replaced piece of text in a copy of the package. A fault is caught when the tests
named with it, which pass without it, fail. The exit status is 1 if a fault survives.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("boards", "generators", "reference", "rtl", "sim")


@dataclass(frozen=True)
class Fault:
    """One fault: in ``file``, ``old`` (which is there once) becomes ``new``; ``tests`` catch it."""

    name: str
    file: str
    old: str
    new: str
    tests: str


FAULTS = [
    Fault(
        "pipeline: rounds down",
        "rtl/stream/pipeline.py",
        "rounded.eq((shifted + 1) >> 1)",
        "rounded.eq(shifted >> 1)",
        "tests/test_pipeline.py",
    ),
    Fault(
        "pipeline: a constant shift rounds down",
        "rtl/stream/pipeline.py",
        "half = 1 << (shift - 1) if shift else 0",
        "half = 0",
        "tests/test_pipeline.py",
    ),
    Fault(
        "pipeline: loses stalls",
        "rtl/stream/pipeline.py",
        "self.advance.eq(o.ready | ~o.valid)",
        "self.advance.eq(1)",
        "tests/test_rsqrt.py",
    ),
    Fault(
        "pipeline: valid waits for ready",
        "rtl/stream/pipeline.py",
        "self.advance.eq(o.ready | ~o.valid)",
        "self.advance.eq(o.ready)",
        "tests/test_rsqrt.py",
    ),
    Fault(
        "pipeline: clamps to the wrong side",
        "rtl/stream/pipeline.py",
        "return Mux(beyond, Cat((~sign).replicate(width - 1), sign), x[:width]).as_signed()",
        "return Mux(beyond, Cat(sign.replicate(width - 1), ~sign), x[:width]).as_signed()",
        "tests/test_residual.py",
    ),
    Fault(
        "block_quantize: 128 is not limited",
        "rtl/quantize/block_quantize.py",
        "Mux(kept == most, most >> 1, (kept + 1)[1 : self.mantissa_width + 1]).as_signed()",
        "(kept + 1)[1 : self.mantissa_width + 1].as_signed()",
        "tests/test_block_quantize.py",
    ),
    Fault(
        "block_quantize: an exponent too small",
        "rtl/quantize/block_quantize.py",
        "drop=7",
        "drop=8",
        "tests/test_block_quantize.py",
    ),
    Fault(
        "head_quantize: the step rounds down",
        "rtl/attention/head_quantize.py",
        "+ ((1 << places) - 1)",
        "+ 0",
        "tests/test_head_quantize.py",
    ),
    Fault(
        "head_quantize: a step of 0",
        "rtl/attention/head_quantize.py",
        "least | (largest == 0)",
        "least",
        "tests/test_head_quantize.py",
    ),
    Fault(
        "head_quantize: maxima of one token for all",
        "rtl/attention/head_quantize.py",
        "m.d.sync += largest[token].eq(total)",
        "m.d.sync += largest[0].eq(total)",
        "tests/test_head_quantize.py",
    ),
    Fault(
        "residual: old values stay at the load",
        "rtl/norm/residual.py",
        "Mux(keep, old, 0)",
        "old",
        "tests/test_residual.py",
    ),
    Fault(
        "residual: no hazard",
        "rtl/norm/residual.py",
        "m.d.comb += hazard.eq(Cat(*same).any())",
        "m.d.comb += hazard.eq(0)",
        "tests/test_residual.py",
    ),
    Fault(
        "rope: the sine's sign",
        "rtl/attention/rope.py",
        "totals += [(a - b)[:34]",
        "totals += [(a + b)[:34]",
        "tests/test_rope.py",
    ),
    Fault(
        "rope: words before the table is complete",
        "rtl/attention/rope.py",
        "usable.eq(complete & ~self.positions.valid)",
        "usable.eq(~self.positions.valid)",
        "tests/test_rope.py",
    ),
    Fault(
        "softmax: the sum is not moved when the maximum rises",
        "rtl/attention/softmax_total.py",
        "total >> (rise << OCTAVE)",
        "total",
        "tests/test_softmax.py -k matches_reference[4-",
    ),
    Fault(
        "softmax: masked elements count",
        "rtl/attention/softmax.py",
        "[Mux(bit, x, 0) for bit, x in zip(mask, mantissas, strict=True)]",
        "[x for bit, x in zip(mask, mantissas, strict=True)]",
        "tests/test_softmax.py -k matches_reference[4-",
    ),
    Fault(
        "softmax: one does not saturate",
        "rtl/attention/softmax.py",
        "above.any() | low[-1]",
        "low[-1]",
        "tests/test_softmax.py -k matches_reference[4-",
    ),
    Fault(
        "softmax_block: the token's own position is masked",
        "rtl/attention/softmax_block.py",
        "(at & (place >= n))",
        "(at & (place > n))",
        "tests/test_softmax_block.py",
    ),
    Fault(
        "softmax_block: the exponent of empty blocks",
        "rtl/attention/softmax_block.py",
        "Mux(some, best + 1, empty(self.whole))",
        "best + 1",
        "tests/test_softmax_block.py",
    ),
    Fault(
        "softmax_sum: sums run on",
        "rtl/attention/softmax_sum.py",
        "m.d.sync += started.eq(~last)",
        "m.d.sync += started.eq(1)",
        "tests/test_softmax_sum.py",
    ),
    Fault(
        "sum_of_squares: epsilon forgotten",
        "rtl/norm/sum_of_squares.py",
        'Mux(vector["first"], self.epsilon, totals',
        'Mux(vector["first"], 0, totals',
        "tests/test_sum_of_squares.py",
    ),
    Fault(
        "sum_of_squares: the last word missed",
        "rtl/norm/sum_of_squares.py",
        '"final": place == self.words - 1',
        '"final": place == self.words - 2',
        "tests/test_sum_of_squares.py",
    ),
    Fault(
        "gate: sigmoid not mirrored",
        "rtl/activation/gating.py",
        "Mux(negative, (1 << 16) - right, right)",
        "right",
        "tests/test_gate.py",
    ),
    Fault(
        "gate: stale gates",
        "rtl/activation/gate.py",
        "gates.read_port(transparent_for=[write])",
        "gates.read_port()",
        "tests/test_gate.py",
    ),
    Fault(
        "tape: one word short",
        "rtl/memory/tape.py",
        "final.eq(left == 2)",
        "final.eq(left == 3)",
        "tests/test_tape.py",
    ),
    Fault(
        "tape: reads on while stalled",
        "rtl/memory/tape.py",
        "read.en.eq(self.o.ready | ~valid)",
        "read.en.eq(1)",
        "tests/test_tape.py",
    ),
    Fault(
        "merge: an offer is withdrawn for another",
        "rtl/stream/merge.py",
        "i.ready.eq(free & ~earlier)",
        "i.ready.eq(~earlier)",
        "tests/test_merge.py",
    ),
    Fault(
        "mac_fabric: no room for a result",
        "rtl/mac/mac_fabric.py",
        "self.i.ready.eq(open_)",
        "self.i.ready.eq(1)",
        "tests/test_mac_fabric.py",
    ),
    Fault(
        "mac_fabric: tiles run together",
        "rtl/mac/mac_fabric.py",
        "starting.eq(earlier.valid & earlier.first)",
        "starting.eq(0)",
        "tests/test_mac_fabric.py",
    ),
    Fault(
        "kv_paged: a page that is kept is freed",
        "rtl/kv_cache/kv_paged.py",
        "r.command.length + (self.block_size - 1)",
        "r.command.length",
        "tests/test_kv_controller.py -k matches_reference",
    ),
    Fault(
        "page_runs: a step begins where the one before it ended",
        "rtl/kv_cache/page_runs.py",
        "m.d.sync += [page.eq(0), first.eq(1)",
        "m.d.sync += [first.eq(1)",
        "tests/test_page_runs.py",
    ),
    Fault(
        "kv_paged: no copy on write",
        "rtl/kv_cache/kv_paged.py",
        "r.shared.eq(r.references.value > 1)",
        "r.shared.eq(0)",
        "tests/test_kv_controller.py -k matches_reference",
    ),
    Fault(
        "kv_paged: a shared block is freed",
        "rtl/kv_cache/kv_paged.py",
        "~fork & (r.held == 1)",
        "~fork",
        "tests/test_kv_controller.py -k matches_reference",
    ),
    Fault(
        "kv_paged: out of memory is not said",
        "rtl/kv_cache/kv_paged.py",
        "new & ~r.there",
        "new & 0",
        "tests/test_kv_controller.py -k matches_reference",
    ),
    Fault(
        "static_quantizer: no upper limit",
        "rtl/quantize/quantizer.py",
        "Mux(total > high, high, Mux(total < low, low, total))",
        "Mux(total < low, low, total)",
        "tests/test_quantizer.py -k static_matches",
    ),
    Fault(
        "dynamic_quantizer: the first group's maximum stays",
        "rtl/quantize/dynamic_quantizer.py",
        "Mux(~fresh & (kept > top), kept, top)",
        "Mux(kept > top, kept, top)",
        "tests/test_quantizer.py -k dynamic_matches",
    ),
    Fault(
        "dequantizer: zero points forgotten",
        "rtl/quantize/dequantizer.py",
        "value = acc - correction",
        "value = acc",
        "tests/test_quantizer.py -k dequantizer_matches",
    ),
    Fault(
        "frame_guard: a cut vector's end is forgotten",
        "rtl/stream/frame_guard.py",
        "[place.eq(0), cut.eq(0)]",
        "[place.eq(0)]",
        "tests/test_frame_guard.py -k right[guard]",
    ),
    Fault(
        "frame_guard: an endless vector is not reported",
        "rtl/stream/frame_guard.py",
        "pad | drop | (i.valid & right & endless)",
        "pad | drop",
        "tests/test_frame_guard.py -k shorter_vectors",
    ),
    Fault(
        "head_pairs: the second half is read from the first",
        "rtl/attention/rope_halves.py",
        "Mux(second, number - n, number)",
        "number",
        "tests/test_rope_halves.py -k pairs_and_back[0.0-4-3]",
    ),
    Fault(
        "embedding: a token that is not there has values",
        "rtl/token/embedding.py",
        "[Mux(there, x, 0) for x in found]",
        "[x for x in found]",
        "tests/test_embedding.py -k not_there",
    ),
    Fault(
        "width_converter: a vector's last word keeps old values",
        "rtl/stream/reshape.py",
        "Mux(place > n, before, 0)",
        "before",
        "tests/test_reshape.py -k width_converter[0.0-2-8]",
    ),
    Fault(
        "transposer: a tile goes before the one before has left",
        "rtl/stream/reshape.py",
        "i.ready.eq(~full | (left == 0) | moving)",
        "i.ready.eq(1)",
        "tests/test_reshape.py -k transposer[0.5-2]",
    ),
    Fault(
        "top_k: later tokens win ties",
        "rtl/token/top_k.py",
        "new[TOKEN:] > entry[TOKEN:]",
        "new[TOKEN:] >= entry[TOKEN:]",
        "tests/test_top_k.py -k test_matches",
    ),
    Fault(
        "top_k: tokens beyond the vocabulary count",
        "rtl/token/top_k.py",
        "((word.index == whole) if lane < rest else 0)",
        "(word.index == whole)",
        "tests/test_top_k.py -k test_matches",
    ),
    Fault(
        "output_stationary: a sweep goes on under the one of a tile's end",
        "rtl/mac/output_stationary.py",
        "hand.eq(Mux(begin, 1, later))",
        "hand.eq(later | begin)",
        "tests/test_systolic_array.py -k output_stationary_matches_reference[3-4",
    ),
    Fault(
        "output_stationary: sums below outlive their tile",
        "rtl/mac/output_stationary.py",
        "(begun | Mux(final, 0, hand)) & ~ended",
        "begun | Mux(final, 0, hand)",
        "tests/test_systolic_array.py -k output_stationary_matches_reference[3-4",
    ),
    Fault(
        "output_stationary: a row's last sum is added again",
        "rtl/mac/output_stationary.py",
        "flags.clear.eq(hand | ended)",
        "flags.clear.eq(ended)",
        "tests/test_systolic_array.py -k output_stationary_matches_reference[3-4",
    ),
    Fault(
        "block_queue: forgets the payload it offers",
        "rtl/stream/block_queue.py",
        "(stored != 0) & (self.o.ready | ~self.o.valid)",
        "stored != 0",
        "tests/test_block_queue.py",
    ),
    Fault(
        "queue: takes one too many",
        "rtl/stream/queue.py",
        "self.i.ready.eq(~held[-1])",
        "self.i.ready.eq(1)",
        "tests/test_queue.py",
    ),
]


def plant(fault, folder):
    """Copy the package and its tests to ``folder``, with ``fault`` or, for None, without any."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "celosia", folder / "celosia", ignore=ignored)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / "celosia" / name, ignore=ignored)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    if fault is not None:
        path = folder / "celosia" / fault.file
        text = path.read_text()
        if text.count(fault.old) != 1:
            raise ValueError(f"{fault.name}: {fault.old!r} is {text.count(fault.old)} times there")
        path.write_text(text.replace(fault.old, fault.new))


def outcome(fault, tests):
    """``passed`` or ``failed``: what ``tests`` say of the package with ``fault``."""
    with tempfile.TemporaryDirectory(prefix="celosia-") as name:
        folder = Path(name)
        plant(fault, folder)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        command += ["-m", "not slow", *tests.split(" -k ")[:1]]
        command += ["-k", tests.split(" -k ")[1]] if " -k " in tests else []
        environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{tests} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return ("passed", "failed")[done.returncode]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults; by default all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    given = parser.parse_args()
    known = {fault.name for fault in FAULTS}
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"no such fault: {', '.join(unknown)}")
    faults = [f for f in FAULTS if not given.names or f.name in given.names]
    rows = []
    for tests in dict.fromkeys(fault.tests for fault in faults):
        if outcome(None, tests) != "passed":
            sys.exit(f"{tests} fails without a fault")
    for fault in faults:
        caught = outcome(fault, fault.tests) == "failed"
        print(f"{'caught' if caught else 'SURVIVED'}: {fault.name}", flush=True)
        row = {"name": fault.name, "file": fault.file, "tests": fault.tests, "caught": caught}
        rows.append(row)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    sys.exit(any(not row["caught"] for row in rows))


if __name__ == "__main__":
    main()
