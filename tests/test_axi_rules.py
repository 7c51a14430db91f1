"""The rules that AXI ports are held to: each is broken once."""

import pytest
from axi_rules import ReadRules, RuleBroken, WriteRules

ASK = {"addr": 0x40, "len": 1, "size": 2, "burst": 1, "id": 0}


def cycle(**channels):
    """The signals of a cycle: each channel named is offered, and taken unless ``ready`` is 0."""
    port = dict.fromkeys(("arvalid", "rvalid", "awvalid", "wvalid", "bvalid"), 0)
    members = {
        "ar": ASK, "aw": ASK, "r": {"data": 5, "resp": 0, "last": 0, "id": 0},
        "w": {"data": 5, "strb": 15, "last": 0}, "b": {"resp": 0, "id": 0},
    }  # fmt: skip
    for name, values in members.items():
        changed = {"valid": int(name in channels), "ready": 1} | channels.get(name, {})
        port |= {name + member: value for member, value in {**values, **changed}.items()}
    return port


def play(rules, *cycles):
    for signals in cycles:
        rules.sample(cycle(**signals))
    rules.finish()


LAST = {"last": 1}


def test_good_ports_break_no_rule():
    reads = ReadRules(32, 4)
    waits = {"ar": {"ready": 0}}
    play(reads, waits, waits, {"ar": {}}, {"r": {}, "ar": {"len": 0}}, {"r": LAST}, {"r": LAST})
    assert (reads.bursts, reads.longest, reads.largest) == (2, 2, 2)
    writes = WriteRules(32, 4)
    play(
        writes,
        {"w": {}},
        {"aw": {}, "w": LAST},
        {"w": LAST, "aw": {"len": 0}},
        {"b": {}},
        {"b": {}},
    )
    assert (writes.bursts, writes.longest, writes.largest) == (2, 2, 3)


@pytest.mark.parametrize(
    ("cycles", "message"),
    [
        ([{"ar": {"ready": 0}}, {}], "arvalid fell before arready came"),
        ([{"ar": {"ready": 0}}, {"ar": {"len": 0}}], "ar changed before it was taken"),
        ([{"ar": {"burst": 0}}], "burst must be 1"),
        ([{"ar": {"size": 1}}], "size must say 4 bytes, not 2"),
        ([{"ar": {"addr": 0x42}}], "address 0x42 is not aligned to 4 bytes"),
        ([{"ar": {"addr": 0xFFC}}], "2 transfers from 0xffc cross 4 KiB"),
        ([{"ar": {"id": 1}}], r"id 1 is none of \[0\]"),
        ([{"ar": {}}, {"ar": {}}, {"ar": {}}], "6 transfers under way, more than 4"),
        ([{"r": {}}], "data with id 0, for which no burst was asked"),
        ([{"ar": {}}, {"r": {"id": 1}}], "data with id 1, for which no burst was asked"),
        ([{"ar": {}}, {"r": LAST}], "rlast is 1 with 1 transfers to come"),
        ([{"ar": {}}, {"r": {}}, {"r": {}}], "rlast is 0 with 0 transfers to come"),
        ([{"ar": {}}, {"r": {"ready": 0}}, {"r": {"data": 6}}], "r changed before it was taken"),
        ([{"ar": {}}], "1 bursts were not given"),
    ],
)
def test_broken_reads(cycles, message):
    with pytest.raises(RuleBroken, match=message):
        play(ReadRules(32, 4), *cycles)


@pytest.mark.parametrize(
    ("cycles", "message"),
    [
        ([{"aw": {"ready": 0}}, {}], "awvalid fell before awready came"),
        ([{"w": {"ready": 0}}, {"w": {"strb": 1}}], "w changed before it was taken"),
        ([{"aw": {}}, {"aw": {}}, {"aw": {}}], "6 transfers under way, more than 4"),
        ([{"aw": {}, "w": LAST}], "wlast after 1 of 2 transfers"),
        ([{"aw": {}, "w": {}}, {"w": {}}, {"w": {}}], "wlast after 3 of 2 transfers"),
        ([{"b": {}}], "an answer with id 0, for which no burst waits"),
        ([{"aw": {}, "w": {}}, {"b": {}}], "an answer before the burst's last transfer"),
        ([{"aw": {}}, {"b": {}}], "an answer before the burst's last transfer"),
        ([{"aw": {}, "w": {}}, {"w": LAST}, {"b": {"id": 1}}], "an answer with id 1"),
        ([{"aw": {}, "w": {}}, {"w": LAST}], "1 bursts were not answered"),
    ],
)
def test_broken_writes(cycles, message):
    with pytest.raises(RuleBroken, match=message):
        play(WriteRules(32, 4), *cycles)
