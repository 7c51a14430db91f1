"""The cycles of a run, predicted: position by position, and where they go."""

from dataclasses import dataclass

import numpy as np
from celosia.generators.config import ConfigError
from celosia.generators.estimate.machinery import Machinery
from celosia.generators.estimate.passes import Pass
from celosia.rtl.machine.run_counters import CAUSES

__all__ = ["ERROR", "Prediction", "known_error", "predict"]

#: The largest error of a run's cycles, as a share: see ``bench/cycle_model.py --check``.
ERROR = 0.02
OUTSIDE = 0.04  # likewise of the few kinds that are predicted less well
KNOTS = 24  # passes of a kind that are worked out; between them lines
BEATS = ("linear", "scores", "values")
FIRST, AFTER_TOKEN, AFTER_PASS = 2, 2, 1  # cycles before a pass is taken


def known_error(config):
    """The largest error of a run's cycles on a machine of that kind, as a share.

    Less is known of pages behind AXI, and of ternary weights there where a token takes about as
    long as the memory's latency: of models with a thousand cycles a token.
    """
    pages = config.kv_page_size > 0 and config.kv_memory == "axi"
    trits = config.weight_format == "trits" and config.memory == "axi"
    return OUTSIDE if pages or trits else ERROR


@dataclass(frozen=True)
class Prediction:
    """What a run will take.

    Parameters
    ----------
    prompt_length : int
    cycles, ideal_cycles : list
        Of each position, from the prompt's first to the last that is computed.
    counters : dict of str to int
        What they are spent on, by the names of the hardware's counters; empty for a machine that
        has none.
    """

    prompt_length: int
    cycles: list
    ideal_cycles: list
    counters: dict

    @property
    def prefill_cycles(self):
        """Those of the prompt."""
        return sum(self.cycles[: self.prompt_length])

    @property
    def utilisation(self):
        """Ideal cycles over cycles, of the passes that give tokens."""
        first = self.prompt_length - 1
        return sum(self.ideal_cycles[first:]) / sum(self.cycles[first:])

    @property
    def overhead(self):
        """Where the cycles beyond the ideal ones go, as ``celosia simulate --json`` has it."""
        if not self.counters:
            return {"serial": sum(self.cycles) - sum(self.ideal_cycles)}
        edges = sum(self.counters[name] for name in BEATS) - sum(self.ideal_cycles)
        rest = {name: n for name, n in self.counters.items() if name not in BEATS}
        return {"edges": edges} | rest

    @property
    def token_cycles(self):
        """Cycles of the last generated token."""
        return self.cycles[-1]


def predict(sketch, prompt_length=1, tokens=1, start=0, frequency=None, **memory):
    """The :class:`Prediction` for a prompt and ``tokens`` generated ones.

    No simulation: see :class:`celosia.generators.estimate.passes.Pass`. Of long runs passes at some
    positions are worked out, and those between them by lines.

    Parameters
    ----------
    sketch : Sketch
    prompt_length, tokens : int, at least 1
    start : int
        Position of the prompt's first token.
    frequency : number, optional
        The clock's, in Hz: an SDRAM's cycles depend on it; by default 80 MHz.
    memory
        ``latency`` of AXI memory, in cycles.

    Raises
    ------
    ConfigError
        If the run does not fit.
    """
    config = sketch.config
    positions = start + prompt_length + tokens - 1
    if positions > config.max_seq_len:
        raise ConfigError(
            f"a prompt of {prompt_length} tokens and {tokens} generated ones take {positions} "
            f"positions, more than max_seq_len, {config.max_seq_len}"
        )
    passes = _passes(start, prompt_length, tokens, config.token_parallelism)
    found = _work_out(Machinery(sketch, frequency, **memory), passes)
    found[:, 0] += [
        FIRST,
        *(AFTER_TOKEN if logits else AFTER_PASS for *_, logits, _ in passes[:-1]),
    ]
    cycles = [
        total * (n + 1) // group - total * n // group
        for total, (_, group, *_) in zip(found[:, 0].tolist(), passes, strict=True)
        for n in range(group)
    ]
    first = start + prompt_length - 1
    ideal = [sketch.ideal_cycles(n, n >= first) for n in range(start, positions)]
    counters = dict(zip(CAUSES, found[:, 1:].sum(axis=0).tolist(), strict=True))
    counters["control"] = sum(cycles) - sum(counters.values())
    return Prediction(prompt_length, cycles, ideal, counters)


def _passes(start, length, tokens, group):
    """Each pass: its position, its tokens, whether it has logits, whether its token is new."""
    end = start + length
    groups = [(n, min(group, end - n)) for n in range(start, end, group)]
    prompt = [(n, size, n + size == end, False) for n, size in groups]
    return prompt + [(n, 1, True, True) for n in range(end, end + tokens - 1)]


def _work_out(machinery, passes):
    """Of each pass its cycles and their causes: int64[passes, 1 + causes]."""
    found = np.zeros((len(passes), 1 + len(CAUSES)), np.int64)
    kinds = {}
    for n, (position, *kind) in enumerate(passes):
        kinds.setdefault(tuple(kind), []).append((n, -(-(position + kind[0]) // machinery.lanes)))
    for kind, members in kinds.items():
        numbers, blocks = np.array(members).T
        different = np.unique(blocks)
        few = np.linspace(0, len(different) - 1, min(KNOTS, len(different))).round().astype(int)
        knots = different[few]
        rows = np.array([_row(machinery, block, *kind) for block in knots])
        for column in range(found.shape[1]):
            found[numbers, column] = np.interp(blocks, knots, rows[:, column]).round()
    return found


def _row(machinery, block, group, logits, generated):
    """A pass that sees all of a ``block``."""
    one = Pass(machinery, int(block) * machinery.lanes - group, group, logits, generated)
    return [one.cycles, *(one.causes.get(name, 0) for name in CAUSES)]
