"""The compact machine's cycles: instruction by instruction, the same at every position."""

from celosia.generators.config import ConfigError
from celosia.generators.estimate.cycles import Prediction
from celosia.rtl.compact.operation import A

__all__ = ["predict_compact"]

BEGIN_AND_DRAIN = 11  # cycles of an instruction before its first product and behind its last one
FABRIC = 1  # more of one that multiplies by weights
BETWEEN = 6  # from a token to the next one's first instruction
ROWS = 4  # of weights in a beat


def predict_compact(plan, prompt_length=1, tokens=1):
    """The :class:`Prediction` for a run of a CompactPlan's machine.

    Raises
    ------
    ConfigError
        If the run does not fit.
    """
    positions, most = prompt_length + tokens - 1, plan.config.max_seq_len
    if positions > most:
        raise ConfigError(
            f"a prompt of {prompt_length} tokens and {tokens} generated ones take {positions} "
            f"positions, more than max_seq_len, {most}"
        )
    first = prompt_length - 1
    silent, spoken = (_token(plan, logits) for logits in (False, True))
    cycles = [spoken if n >= first else silent for n in range(positions)]
    ideal = [plan.ideal_cycles(n, n >= first) for n in range(positions)]
    return Prediction(prompt_length, cycles, ideal, {})


def _token(plan, logits):
    """Cycles of a token: those of a layer's instructions once for each layer."""
    program, loop, total = plan.program, plan.shape.loop, BETWEEN
    end = next(n for n, one in enumerate(program) if one.control.loop)
    for number, one in enumerate(program[1:], 1):
        times = plan.shape.n_layers if loop <= number <= end else 1
        total += times * (_work(one) + BEGIN_AND_DRAIN)
        if one.control.stop and not logits:
            break
    return total


def _work(instruction):
    """Cycles in which an instruction has products, or beats of its dot products."""
    control = instruction.control
    if control.a != A.PRODUCT:
        return instruction.count
    if control.cache:
        return instruction.count * control.beats
    return -(-instruction.count // ROWS) * control.beats + FABRIC
