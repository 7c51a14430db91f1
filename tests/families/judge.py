"""The judge: `transformers` computes the cases' logits, or PyTorch where it has no such family.

Needs ``pip install -e '.[judge]'``.

``python tests/families/judge.py`` writes expected/NAME.npz; ``--check`` compares it live with the
float32 reference instead.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # torch.compile would call a C++ compiler
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

#: The parts of a model of text and images that the cases leave out.
_VISION = ("model.vision_tower.", "model.multi_modal_projector.")


def judged(case, folder, activations=None):
    """What `transformers` computes for the case: float32[POSITIONS, vocab_size].

    ``activations`` "float" leaves out the rounding of activations before ternary matrices.

    Raises
    ------
    ValueError
        If it misses a tensor, or finds one that it does not know or whose shape it refuses.
    """
    import torch

    from families.formulas import FORMULAS

    if case.family in FORMULAS:
        with torch.no_grad():
            return FORMULAS[case.family](case, activations != "float").logits(case.tokens).numpy()
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = [str(name) for name in info[kind]]
        names = [name for name in names if not name.startswith(_VISION)]
        if names:
            raise ValueError(f"{case.name}: {kind}: {', '.join(names)}")
    if activations == "float":
        _keep_activations(model)
    with torch.no_grad():
        return model.eval()(torch.from_numpy(case.tokens)[None]).logits[0].numpy()


def _keep_activations(model):
    """Make the rounding of activations in BitNet's layers the identity."""
    from transformers.integrations import bitnet

    for module in model.modules():
        if isinstance(module, bitnet.BitLinear):
            module.activation_quant = lambda x: (x, x.new_ones(1))
        elif isinstance(module, bitnet.AutoBitLinear):
            module.forward = _without_rounding(module, bitnet)


def _without_rounding(module, bitnet):
    def forward(x):
        from torch.nn import functional

        x = x if module.rms_norm is None else module.rms_norm(x)
        if module.online_quant:
            return functional.linear(x, bitnet.WeightQuant.apply(module.weight), module.bias)
        return functional.linear(x, module.weight, module.bias) * module.weight_scale

    return forward


def write(case, folder, expected):
    """Write the case's expected logits to the folder ``expected``; the size of the file."""
    from families.formulas import FORMULAS

    arrays = {"logits": judged(case, folder, "float")}
    if "quantization_config" in case.config or case.family in FORMULAS:
        arrays["int8"] = judged(case, folder)
    path = expected / f"{case.name}.npz"
    np.savez_compressed(path, **arrays)
    return path.stat().st_size


def check(case, folder):
    """The largest relative difference of our float32 logits, or why there are none."""
    from celosia.reference import checkpoint, float32

    from families.cases import relative_difference

    try:
        model = checkpoint.load(folder)
    except checkpoint.CheckpointError as error:
        return str(error).replace(f"{folder}/", "")
    return relative_difference(float32.forward(model, case.tokens), judged(case, folder, "float"))


def main():
    from families.cases import CASES, EXPECTED

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the float32 reference")
    parser.add_argument("cases", nargs="*", help="names or beginnings of names; all if none")
    arguments = parser.parse_args()
    worst = 0.0
    EXPECTED.mkdir(exist_ok=True)
    for case in CASES:
        if not case.name.startswith(tuple(arguments.cases) or ""):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = case.write(Path(folder))
            result = check(case, path) if arguments.check else write(case, path, EXPECTED)
        worst = max(worst, result) if isinstance(result, float) else worst
        shown = f"{result:.1e}" if isinstance(result, float) else result
        print(f"{case.name:22} {shown}", flush=True)
    if arguments.check:
        print(f"largest difference {worst:.1e} of the logits' spread")
    return worst > 1e-4


if __name__ == "__main__":
    sys.exit(main())
