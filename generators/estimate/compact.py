"""The compact machine's cycles: instruction by instruction."""

from celosia.generators.config import ConfigError
from celosia.generators.estimate.cycles import Prediction
from celosia.rtl.compact.operation import A

__all__ = ["predict_compact"]

BEGIN = 2  # cycles of an instruction before its first product
DRAIN = 5  # and behind its last one
SOON, ALL = 3, 8  # if the next one may come soon; if the token ends
SAMPLER = 8  # more where a token is drawn
FABRIC = 2  # from the last beat of a dot product to before its first result
BETWEEN, RESULT = 3, 1  # from a token to the next one's first instruction; more where it had logits


def predict_compact(plan, prompt_length=1, tokens=1, start=0):
    """The :class:`Prediction` for a run from position ``start`` on of a CompactPlan's machine.

    Raises
    ------
    ConfigError
        If the run does not fit.
    """
    positions, most = prompt_length + tokens - 1, plan.config.max_seq_len
    if start + positions > most:
        raise ConfigError(
            f"a prompt of {prompt_length} tokens and {tokens} generated ones take {positions} "
            f"positions, more than max_seq_len, {most}"
        )
    first = prompt_length - 1
    found = {}
    cycles, ideal = [], []
    for n in range(positions):
        words = -(-min(start + n + 1, plan.shape.window) // plan.shape.columns)
        key = words, n >= first
        if key not in found:
            found[key] = _token(plan, *key)
        cycles.append(found[key] + RESULT * (n > first))
        if start + n == 0:  # the sines and cosines are those of position 0 from the beginning
            cycles[0] += BEGIN + _drain(plan.program[0]) + plan.program[0].count
        ideal.append(plan.ideal_cycles(start + n, n >= first))
    return Prediction(prompt_length, cycles, ideal, {})


def _token(plan, words, logits):
    """Cycles of a token that sees so many words of positions.

    Those of a layer's instructions count once for each layer.
    """
    program, loop, total = plan.program, plan.shape.loop, BETWEEN
    end = next(n for n, one in enumerate(program) if one.control.loop)
    for number, one in enumerate(program[1:], 1):
        times = plan.shape.n_layers if loop <= number <= end else 1
        work = BEGIN + _work(one, plan.shape, words)
        if one.control.end or (one.control.stop and not logits):
            return total + work + ALL + SAMPLER * (plan.shape.sampling and logits)
        total += times * (work + _drain(one))
    raise ValueError("the program has no end")


def _drain(one):
    return SOON if one.soon else DRAIN


def _work(instruction, shape, words):
    """Cycles in which an instruction has products, or beats of its dot products."""
    control = instruction.control
    count = words * shape.columns if control.each else instruction.count
    if control.a != A.PRODUCT:
        return count + (1 + shape.far) * (control.a >= A.EMBEDDING)
    drain = FABRIC + (not shape.spram) + shape.far
    if control.cache:
        return count * (words if control.along else control.beats) + drain + 1
    rows = shape.rows if control.largest else shape.ternary_rows or shape.rows
    return -(-count // rows) * control.beats + drain + (count - 1) % rows + 1
