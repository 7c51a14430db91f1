"""Five ternary weights in a byte of the compact machine's tape."""

import itertools

import numpy as np
from celosia.reference.compact.trits import TRITS, pack
from celosia.rtl.compact.trits import Trits
from python_bench import simulate


def test_every_byte():
    digits = np.array(list(itertools.product((-1, 0, 1), repeat=TRITS)))
    octets = pack(digits)
    assert len(set(octets.tolist())) == len(digits)
    unit, found = Trits(), []

    async def bench(ctx):
        for octet in octets.tolist():
            ctx.set(unit.i, octet)
            found.append([ctx.get(digit) for digit in unit.o])
            await ctx.delay(1e-9)

    simulate(unit, bench)
    assert found == digits.tolist()
