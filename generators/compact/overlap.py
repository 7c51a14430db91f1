"""Which instructions of the compact machine may begin before the last results are written."""

from dataclasses import replace

from celosia.rtl.compact.operation import A, B, Group, Measure, Step, Stride

__all__ = ["overlapped"]

PRODUCTS = {Group.ONE: 1, Group.TWO: 2}  # of a result
STRIDES = {Stride.ONE: 1, Stride.FOUR: 4}
SECOND = {Step.STAY: 0, Step.NEXT: 1, Step.SECOND: 2, Step.PAIRS: 1}  # where the second read is


def overlapped(program, loop, columns):
    """``program`` with ``soon`` where an instruction's followers read nothing of its last results.

    A follower's first two reads come before one or two of them are written; its measurement comes
    before they are measured.

    Parameters
    ----------
    program : list of Instruction
    loop : int
        The first instruction of a layer.
    columns : int
        Bytes in a word.
    """
    found = []
    for number, one in enumerate(program):
        after = program[number + 1 : number + 2] + [program[loop]] * one.control.loop
        soon = all(_independent(one, other, columns) for other in after)
        found.append(replace(one, soon=bool(after) and soon))
    return found


def _independent(one, other, columns):
    control, following = one.control, other.control
    if following.measure != Measure.KEEP:
        return False
    if (control.key or control.value) and following.cache:
        return False
    last = set(_last_results(one))
    reads = _first_reads(other, columns)
    return not any(getattr(control, memory) and last & read for memory, read in reads.items())


def _last_results(one):
    """Where the last two results go: of as many as there are positions all but the first two."""
    control, stride = one.control, STRIDES.get(one.control.stride, 1)
    count = one.count // PRODUCTS.get(control.group, one.count)
    first = 2 if control.each and control.group != Group.ALL else max(count - 2, 0)
    return (one.target + stride * n for n in range(first, count))


def _first_reads(one, columns):
    """What the first two products, or words of products, read: ``{memory: set of places}``."""
    control = one.control
    if control.a == A.PRODUCT:  # the half memory later
        first = columns * one.vector
        return {"byte": set(range(first, first + 2 * columns))}
    reads = {}
    if control.a == A.WIDE:
        reads["wide"] = {one.source, one.source + SECOND[control.step]}
    if control.b == B.HALF:
        reads["half"] = {one.second, one.second + control.b_next}
    return reads
