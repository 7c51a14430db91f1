"""The compact machine's vector operations against its reference, each way of every stage."""

import numpy as np
import pytest
from celosia.reference.arithmetic import bit_length
from celosia.reference.compact.arithmetic import compute
from celosia.reference.compact.tables import exp_table, gate_table, root_table
from celosia.rtl.compact.operation import Add, Control, Group, Measure, Table, Width, control_value
from celosia.rtl.compact.vector import CompactVector
from python_bench import simulate

WIDTHS = {Width.WIDE: 24, Width.HALF: 16, Width.BYTE: 8}
LATENCY, GATE_SHIFT = 6, 5


class Machine:
    """What instructions leave behind, in NumPy: results, and what was measured."""

    def __init__(self):
        self.used = self.exponent = self.largest = self.place = 0

    def run(self, control, shift, a, b, add, positions):
        size = {Group.ONE: 1, Group.TWO: 2, Group.ALL: len(a)}[control.group]
        product = (a.astype(np.int64) * b).reshape(-1, size).sum(axis=1)
        length = int(bit_length(np.array(self.used)))
        if control.measure != Measure.KEEP:
            bits = {Measure.FIFTEEN: 15, Measure.EIGHT: 8, Measure.SEVEN: 7}[control.measure]
            excess = max(length - bits, 0)
            self.exponent = excess + (excess & 1 if control.measure == Measure.EIGHT else 0)
        n = len(product)
        addend = {Add.NONE: 0, Add.WIDE: add[:n], Add.LARGEST: -self.largest}[control.add]
        y = compute(product, shift, WIDTHS[control.width], addend)
        masked = np.arange(n) >= positions if control.masked else np.zeros(n, bool)
        if control.sum:
            self.used = self.used if control.more else 0
            self.used |= int(np.bitwise_or.reduce((y ^ (y >> 63)) & ((1 << 23) - 1)))
        if control.largest and not masked.all():
            self.place = int(np.where(masked, -(1 << 24), y).argmax())
            self.largest = int(y[self.place])
        taps = y.tolist() if control.largest and not control.masked else []
        if control.table == Table.NONE:
            return y.tolist(), y.tolist(), taps
        half = 1 << GATE_SHIFT - 1
        looked_up = {
            Table.EXP: exp_table()[np.clip(-y, 0, 255)],
            Table.GATE: gate_table("silu")[np.clip((y + half) >> GATE_SHIFT, -128, 127) + 128],
            Table.ROOT: root_table()[y & 255],
        }[control.table]
        return np.where(masked, 0, looked_up).tolist(), y.tolist(), taps


def instructions():
    """Controls of every kind, with shift, operands, what is added, and positions."""
    rng = np.random.default_rng(8)
    wide = (1 << 23) - 1
    controls = [
        Control(group=group, width=width, add=add, sum=True)
        for group in Group
        for width in WIDTHS
        for add in (Add.NONE, Add.WIDE)
    ]
    controls += [Control(measure=measure) for measure in Measure]
    controls += [Control(sum=True), Control(sum=True, more=True), Control(measure=Measure.SEVEN)]
    controls += [Control(largest=True), Control(add=Add.LARGEST)]
    controls += [Control(largest=True, masked=True), Control(add=Add.LARGEST, masked=True)]
    controls += [Control(table=Table.GATE, width=Width.HALF), Control(table=Table.ROOT)]
    controls += [Control(table=Table.GATE, width=Width.HALF, masked=True)]
    controls = [(c, int(rng.integers(0, 32))) for c in controls * 3]
    controls += [(Control(table=Table.GATE, width=Width.HALF), 23), (Control(table=Table.ROOT), 21)]
    for n in range(40):  # scores: the largest is subtracted, and what is left looked up
        masked, shift = bool(n % 2), int(rng.integers(18, 24))
        controls += [(Control(largest=True, masked=masked), shift)]
        controls += [(Control(add=Add.LARGEST, table=Table.EXP, masked=masked), shift)]
    for k, (control, shift) in enumerate(controls):
        if control.add != Add.LARGEST:
            count = 2 * int(rng.integers(1, 9))
            a = rng.integers(-wide - 1, wide + 1, count) >> int(rng.integers(0, 24))
            b = rng.integers(-1 << 15, 1 << 15, count) >> int(rng.integers(0, 16))
            if k % 5 == 0:
                a, b = rng.choice([-wide - 1, wide], count), rng.choice([-1 << 15, 32767], count)
                a = a >> 3 if control.group == Group.ALL else a  # sums have 40 bits
            positions = int(rng.integers(1, count + 1))
        yield control, shift, a, b, rng.integers(-wide - 1, wide + 1, count), positions


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_matches_reference(stall):
    unit, model, rng = CompactVector(gate_shift=GATE_SHIFT), Machine(), np.random.default_rng(2)

    async def bench(ctx):
        for control, shift, a, b, add, positions in instructions():
            y, plain, taps = model.run(control, shift, a, b, add, positions)
            ctx.set(unit.control.as_value(), control_value(control))
            ctx.set(unit.positions, positions)
            ctx.set(unit.begin, 1)
            await ctx.tick()
            ctx.set(unit.begin, 0)
            ctx.set(unit.shift, shift)
            place, added, found, bare, tapped, sent, empty = 0, 0, [], [], [], [], []
            for cycle in range(8 * len(a) + 20):
                go = place < len(a) and rng.random() >= stall
                ctx.set(unit.valid, go)
                ctx.set(unit.last, place == len(a) - 1)
                if go:
                    ctx.set(unit.a, int(a[place]))
                    ctx.set(unit.b, int(b[place]))
                    sent.append(cycle)
                    place += 1
                if ctx.get(unit.write):
                    found.append((cycle, ctx.get(unit.y)))
                    bare.append(ctx.get(unit.plain))
                if ctx.get(unit.tap):
                    tapped.append(ctx.get(unit.tapped))
                empty.append(ctx.get(unit.empty))
                following = int(add[min(added, len(add) - 1)])
                added += ctx.get(unit.adding)
                await ctx.tick()
                ctx.set(unit.add, following)
                if place == len(a) and len(found) == len(y):
                    break
            size = len(a) // len(y)
            assert [value for _, value in found] == y, control
            assert bare == plain
            assert [cycle for cycle, _ in found] == [c + LATENCY for c in sent[size - 1 :: size]]
            assert tapped == taps
            assert ctx.get(unit.exponent) == model.exponent
            assert ctx.get(unit.largest) == model.place
            assert not any(empty[sent[-1] : found[-1][0] + 1])
            await ctx.tick()
            assert ctx.get(unit.empty)

    simulate(unit, bench)
