"""The first layer and the head of SmolLM2-135M, its file's own weights, in RTL: every logit."""

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import CheckpointError, load
from celosia.sim.native import NativeSimulation
from celosia.sim.request import Request
from celosia.sim.simulate import compare, machine_verilog, simulate

SETTINGS = (
    *("weight_width=4", "head_width=8", "group_size=32", "max_seq_len=16"),
    *("memory=axi", "axi_width=512"),
)


@pytest.fixture(scope="module")
def smollm2():
    try:
        return load("smollm2")
    except CheckpointError as error:
        pytest.skip(str(error))


def test_a_conversation(smollm2):
    tokenizer = smollm2.tokenizer
    text = tokenizer.chat.render([{"role": "user", "content": "Hi"}])
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert [t for t in tokenizer.encode(text, bos=False) if t < 3] == [1, 2, 1, 2, 1]
    assert tokenizer.encode(tokenizer.chat.end_of_turn(), bos=False)[0] in tokenizer.stop


@pytest.mark.slow
def test_first_layer_equals_the_reference(smollm2):
    model = smollm2.shortened(1)
    plan = make_plan(model, load_config("small", SETTINGS))
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        run = simulate(plan, simulation, Request((1, 4093, 198), 2), lambda token: None)
    tokens, logits = compare(plan, run)
    assert run.tokens == tokens
    np.testing.assert_array_equal(run.logits, logits)
