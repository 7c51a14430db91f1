"""The whole machine under cocotb: prompt and tokens through a stalling host link, logits tapped."""

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.protocol.frames import FrameDecoder, frame
from celosia.protocol.messages import Done, Error, Kind, Prompt, Run, Token, decode, encode
from celosia.protocol.refusals import Code
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.rtl.machine.run_counters import COUNTERS
from celosia.sim import bench

PROMPT = [3, 1, 4, 1, 5]
COUNT = 3


@pytest.fixture(scope="module")
def plan():
    config = ModelConfig(
        dim=12, hidden_dim=20, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=4, vocab_size=19,
        seq_len=16, tied=True,
    )  # fmt: skip
    settings = ("token_parallelism=2",)
    return make_plan(random_model(config, seed=3), load_config("tiny", settings))


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_speaks_through_stalls(plan, stall):
    run = Run(0, len(PROMPT), COUNT, 19, 200, 77)
    damaged = bytearray(frame(Kind.RUN, run.payload()))
    damaged[-1] ^= 1
    sent = [encode(Prompt(0, tuple(PROMPT))), bytes(damaged), encode(run)]
    answers = 6 + 7 + 6 + 12 * COUNT + 9 + 4 * len(COUNTERS)  # bytes: ack, error, ack, ...
    result = bench.run(
        plan.machine(),
        {"rx": list(b"".join(sent))},
        {"tx": answers, "logits": None, "passes": None},
        stall=stall,
        max_cycles=20_000,
    )
    heard = [decode(f) for f in FrameDecoder().feed(bytes(result.outputs["tx"]))]
    tokens = [message.token for message in heard if isinstance(message, Token)]
    expected, logits = integer.generate(plan.model, PROMPT, COUNT, 200, 77)
    assert tokens == expected
    words = [list(word["data"]) for word in result.outputs["logits"]]
    got = np.array(words).reshape(COUNT, -1)[:, :19]
    np.testing.assert_array_equal(got, logits)
    assert [m.code for m in heard if isinstance(m, Error)] == [Code.CRC]
    assert isinstance(heard[-1], Done)
    assert heard[-1].tokens == COUNT
