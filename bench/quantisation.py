"""What recipes lose: ``python bench/quantisation.py MODEL [RECIPE ...] [-o FILE]``.

W4A8KV8 in the integer model against float32, as `celosia evaluate` measures it: weights in groups
of 32 with offsets (``--rows``: one scale for each row), embedding and head in 8 bits.

``stories260K`` (beside the repository, ../shared/models): 20 kB of its own text from byte 300 on,
the first 511 tokens of each story (7,979); calibrated by what follows byte 60,000. ``smollm2``
(`celosia fetch smollm2`), whose file has 4 bits in groups of 32: the first ``--tokens`` of
bench/texts/shakespeare.txt in windows of 512; calibrated by tests/data/shakespeare_heldout.txt.
``smollm2-rotated``: the same model after a random R1, so that its weights are on no grid, as those
of a bfloat16 file would be.

``--set activation_width=4`` and the like change the widths (names as of ``Scheme``). FILE keeps
what was measured before.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from celosia.reference.checkpoint import load
from celosia.reference.evaluate import text_tokens, text_windows, windows_report
from celosia.reference.quantization.scheme import Scheme
from celosia.reference.recipes.apply import apply_recipe
from celosia.reference.recipes.recipe import RECIPES, load_recipe
from celosia.reference.rewrites.rotation import rotate_stream

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "models" / "stories260K"
TEXTS = ROOT / "bench" / "texts" / "shakespeare.txt", ROOT / "tests/data/shakespeare_heldout.txt"


def windows(model, text, most, each=None):
    """Windows of up to 512 positions: ``most`` tokens of a text, of each part at most ``each``."""
    found, count = [], 0
    parts = [tokens[:each] for tokens in text_tokens(model, text)]
    for fed, predicted in text_windows(parts, 512, model.tokenizer.bos):
        if count < most:
            found.append((fed[: most - count], predicted[: most - count]))
            count += len(predicted)
    return found


def stories260k(most):
    """The model, windows to measure and windows to calibrate by."""
    model = load(SHARED / "stories260K.bin", SHARED / "tok512.bin")
    text = (SHARED / "tinystories_sample.txt").read_bytes()
    own, rest = (
        text[part].decode(errors="ignore") for part in (slice(300, 20_300), slice(60_000, 140_000))
    )
    return model, windows(model, own, most, 511), windows(model, rest, 16_384)


def smollm2(most):
    """The same."""
    model = load("smollm2")
    own, rest = (path.read_text() for path in TEXTS)
    return model, windows(model, own, most), windows(model, rest, 2_048)


def smollm2_rotated(most):
    """The same."""
    model, *texts = smollm2(most)
    return rotate_stream(model, seed=1), *texts


MODELS = {"stories260K": stories260k, "smollm2": smollm2, "smollm2-rotated": smollm2_rotated}


def measure(model, held, calibration, scheme, recipe):
    """The report of one recipe."""
    begin = time.process_time()
    coded = apply_recipe(model, scheme, recipe, [fed for fed, _ in calibration])
    seconds = time.process_time() - begin
    quantized = scheme.quantize(coded)
    report = windows_report(
        model, lambda tokens: quantized.logits(tokens)[0] * 2.0**-quantized.logit_fraction, held
    )
    made = {"calibrated_tokens": sum(len(fed) for fed, _ in calibration)}
    made |= {"recipe": recipe.as_dict(), "cpu_seconds": round(seconds, 1)}
    return report | made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", default=list(RECIPES))
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--tokens", type=int, default=1 << 30)
    parser.add_argument("-o", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    model, held, calibration = MODELS[arguments.model](arguments.tokens)
    scheme = Scheme(lanes=8 if arguments.model == "stories260K" else 16, weight_width=4)
    if not arguments.rows:
        scheme = replace(scheme, group=32, head_width=8)
    changes = dict(setting.split("=") for setting in arguments.set)
    values = {name: int(x) if x.isdigit() else x for name, x in changes.items()}
    scheme = replace(scheme, **values)
    for name in arguments.recipes:
        found = measure(model, held, calibration, scheme, load_recipe(name))
        groups = "rows" if arguments.rows else "groups of 32"
        key = ", ".join([arguments.model, groups, Path(name).stem, *arguments.set])
        numbers = f"{found['integer']['perplexity']:.4f}, KL {found['kl']:.5f}"
        print(f"{key}: {numbers} ({found['cpu_seconds']} s)", flush=True)
        if arguments.o:
            known = json.loads(arguments.o.read_text()) if arguments.o.exists() else {}
            text = json.dumps(dict(sorted((known | {key: found}).items())), indent=2)
            arguments.o.write_text(text + "\n")


if __name__ == "__main__":
    main()
