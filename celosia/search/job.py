"""What is searched: the question in words, and what these stand for, loaded."""

import functools
from dataclasses import asdict, dataclass
from pathlib import Path

from celosia.boards.catalog import find_board
from celosia.generators.config import ConfigError
from celosia.made_codes import digest
from celosia.reference.checkpoint import load
from celosia.reference.checkpoint.files import TEXT_LIMIT, read_text
from celosia.search.figures import FIGURES, parse_constraint
from celosia.search.ladder import Ladder
from celosia.search.loss import Loss
from celosia.search.space import Space

__all__ = ["Job", "Search", "search_of"]

POSITION = 100
FREE = "model", "tokenizer", "text", "study", "trials", "seed"  # of a job: no part of the question


@dataclass(frozen=True)
class Job:
    """A search in words, which any process can take up.

    Parameters
    ----------
    model, tokenizer, text : str or None
        Files.
    layers : int or None
    board : str
    clock : float
        In MHz.
    position : int or None
        By default 100, or the last.
    settings, objectives, constraints : tuple of str
    max_tokens : int
        Of the text.
    study : str
        A file, or the URL of a database; "" for memory.
    trials : int
        That the study is to have.
    seed : int
    """

    model: str
    tokenizer: str | None
    text: str | None
    layers: int | None
    board: str
    clock: float
    position: int | None
    settings: tuple
    objectives: tuple
    constraints: tuple
    max_tokens: int
    study: str
    trials: int
    seed: int

    @property
    def rungs(self):
        """Those whose figures are weighed, and the first two."""
        names = [*self.objectives, *(parse_constraint(text).name for text in self.constraints)]
        return {"chip", "cycles", *(FIGURES[name].rung for name in names)}


class Search:
    """What a :class:`Job` stands for, loaded.

    Members
    -------
    model, board, position, space, ladder
    loss : Loss or None
    digest : str
        Of the model.
    """

    def __init__(self, job):
        self.job = job
        self.model = load(job.model, job.tokenizer)
        if job.layers is not None:
            self.model = self.model.shortened(job.layers)
        self.board = find_board(job.board)
        last = self.model.config.seq_len - 1
        self.position = min(POSITION, last) if job.position is None else job.position
        if self.position > last:
            raise ConfigError(f"--position must be at most {last}, not {self.position}")
        self.space = Space(self.board, self.model, job.settings, job.rungs)
        words = job.text and read_text(Path(job.text), TEXT_LIMIT)
        self.loss = None
        if words:
            try:
                self.loss = Loss(self.model, words, job.max_tokens)
            except ConfigError as error:
                raise ConfigError(f"{job.text}: {error}") from None
        constraints = [parse_constraint(text) for text in job.constraints]
        parts = (job.clock, self.position, constraints, job.rungs, self.loss)
        self.ladder = Ladder(self.model, self.board, *parts)
        self.digest = digest(self.model)
        self._known = {}

    def point(self, values):
        """The configuration of suggested values and its :class:`Point`; or why there is none."""
        try:
            config = self.space.config(values)
            if config not in self._known:
                self._known[config] = self.ladder.climb(config)
        except ConfigError as error:
            return str(error)
        return config, self._known[config]

    def question(self):
        """What trials of one study must have in common: ``{name: value}``, as JSON has it."""
        asked = {name: value for name, value in asdict(self.job).items() if name not in FREE}
        asked = {name: list(v) if isinstance(v, tuple) else v for name, v in asked.items()}
        return asked | {"model": self.digest[:16], "text": self.loss and self.loss.digest[:16]}


@functools.lru_cache(4)
def search_of(job):
    """The :class:`Search` of a job, made once in a process."""
    return Search(job)
