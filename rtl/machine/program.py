"""The program of a machine: its steps, and where the tapes hold what it reads."""

from dataclasses import dataclass, field

from celosia.rtl.machine.step import Operand

__all__ = ["Load", "Program", "Run"]


@dataclass(frozen=True)
class Load:
    """A row of a table that every token brings into the residual stream before the first step.

    Parameters
    ----------
    address, scale_address : int
        Where the tapes hold the table's tiles and its rows' scales.
    words : int
        Blocks in a row.
    planes : bool
        Each block takes two words of the tape.
    shift, argument : int
        The shift of its scales, and that behind the first norm's gains.
    position : bool
        The row is the token's position plus ``offset``, instead of the token.
    offset : int
    keep : bool
        It is added to what was loaded before.
    normed : bool
        It is the token's last one: what the first norm sees.
    """

    address: int
    scale_address: int
    words: int
    planes: bool
    shift: int
    argument: int
    position: bool = False
    offset: int = 0
    keep: bool = False
    normed: bool = True


@dataclass(frozen=True)
class Run:
    """What a pass reads of the tapes at once.

    Parameters
    ----------
    weights, scales : (int, int)
        Address and number of words on each tape, at least 1.
    chosen : bool
        It is an expert's: they lie one behind the other, from the address of number 0 on. Such
        runs are those of the router's experts, in their order.
    """

    weights: tuple
    scales: tuple
    chosen: bool = False


@dataclass(frozen=True)
class Program:
    """What a sequencer runs, and where the tapes keep what it needs.

    Parameters
    ----------
    steps : list of dict
        Initial values of step_layout, at least 2, with the ``route`` by its name; the last one
        makes the logits. What is left out is 0. ``name`` says what a step is, as ``layers.3.o``. Of
        two steps that set the same resource, the second or one between them waits for it.
    weight_words, scale_words : (int, int)
        Tape words of a pass without and with logits.
    runs : tuple of Run
        What a pass reads, in order, where that is not all from address 0 on: the last one is that
        of the last step.
    experts : int
        Among so many the runs of experts are chosen.
    bias_words : (int, int)
        Likewise, of the tape of biases.
    norms : int
        The most norms of one residual stream.
    loads : tuple of Load
        In order; the last one alone is ``normed``.
    """

    steps: list
    weight_words: tuple
    scale_words: tuple
    loads: tuple
    bias_words: tuple = (0, 0)
    runs: tuple = ()
    experts: int = 0
    norms: int = field(default=1, repr=False)

    @property
    def routes(self):
        """The routes that results take, in the order of their numbers."""
        return [*dict.fromkeys(["residual", *(step["route"] for step in self.steps)])]

    @property
    def attends(self):
        """Whether it has keys and values."""
        return "scores" in self.routes

    @property
    def wide(self):
        """Whether the head and the tables are wide operands, see :class:`Operand`."""
        return any(step.get("operand") == Operand.WIDE for step in self.steps)

    @property
    def recurs(self):
        """Whether it has states, which each token changes."""
        return "recurrent" in self.routes

    @property
    def quiet(self):
        """Whether some results are added to the residual stream without a norm behind them."""
        residual = [step for step in self.steps if step["route"] == "residual"]
        normed = [step.get("normed", 0) for step in residual]
        return not all(normed + [load.normed for load in self.loads])
