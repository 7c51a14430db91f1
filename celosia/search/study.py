"""A study: what was asked, the trials so far, and the work on it, by one process or several."""

import functools
import signal
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from celosia import interrupt
from celosia.boards.catalog import find_board
from celosia.generators.config import ConfigError
from celosia.reference.checkpoint import load
from celosia.reference.checkpoint.files import read_text
from celosia.search.figures import FIGURES, parse_constraint
from celosia.search.ladder import Ladder
from celosia.search.loss import Loss, digest_of
from celosia.search.space import Space, changes

__all__ = ["Job", "finished", "open_study", "search_of", "stop_softly", "work"]

NAME = "celosia"
POSITION = 100
TEXT_LIMIT = 64 << 20  # bytes
STARTUP = 40  # trials at random, from which the sampler learns
FREE = (
    "model",
    "tokenizer",
    "text",
    "study",
    "trials",
    "seed",
)  # of a job: no part of the question


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
        self.digest = digest_of(self.model)
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


def optuna():
    """The library.

    Raises
    ------
    ConfigError
        If it is missing.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError("a search needs Optuna: pip install 'celosia[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_study(job, number=0):
    """The study of a job, made if it is not there yet; of each worker the sampler has its own seed.

    Raises
    ------
    ConfigError
        If there is no such study, or it is that of another question.
    """
    library, search = optuna(), search_of(job)
    sampler = library.samplers.TPESampler(
        n_startup_trials=STARTUP, multivariate=True, seed=job.seed + number
    )
    try:
        study = library.create_study(
            storage=_storage(library, job.study),
            study_name=NAME,
            sampler=sampler,
            load_if_exists=True,
            directions=["maximize" if FIGURES[n].more else "minimize" for n in job.objectives],
        )
        asked = study.user_attrs.get("question")
        if asked is None:
            study.set_user_attr("question", search.question())
    except OSError as error:
        raise OSError(error.errno, error.strerror, job.study) from None
    except Exception as error:
        text = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"--study {job.study}: {text}") from None
    for name, value in search.question().items():
        if asked is not None and asked.get(name) != value:
            raise ConfigError(
                f"--study {job.study} is of another question: its {name} is "
                f"{asked.get(name)}, not {value}"
            )
    return study


def _storage(library, place):
    """Where a study is kept; None for memory."""
    if "://" in place:
        return library.storages.RDBStorage(place)
    if not place:
        return None
    from optuna.storages.journal import JournalFileBackend

    return library.storages.JournalStorage(JournalFileBackend(place))


def finished(study):
    """Trials that are done, whatever came of them."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def work(job, number=0, most=None, study=None, progress=None):
    """Make trials until the study has ``job.trials``, or ``most`` were made here.

    ``study`` is that of the job, where it is open.

    A process that is ended loses the trial that it was at, and nothing else.
    """
    search, study, made = search_of(job), study or open_study(job, number), 0
    while (done := finished(study)) < job.trials and made != most and not _stopping:
        if progress is not None:
            progress(done)
        _trial(search, study)
        made += 1
    if progress is not None:
        progress(finished(study))


def _trial(search, study):
    from optuna.trial import TrialState

    with interrupt.held():
        trial = study.ask()
        values = search.space.suggest(trial)
    try:
        found = search.point(values)
    except BaseException:
        with interrupt.held():
            study.tell(trial, state=TrialState.FAIL)
        raise
    with interrupt.held():
        if isinstance(found, str):
            trial.set_user_attr("refused", found)
            study.tell(trial, state=TrialState.PRUNED)
            return
        config, point = found
        trial.set_user_attr("config", changes(config))
        trial.set_user_attr("figures", point.figures)
        for text, excess in point.excess.items():
            trial.set_constraint(text, excess)
        names = search.job.objectives
        study.tell(trial, [point.figures.get(name, _worst(name)) for name in names])


def _worst(name):
    """For a figure that a point, which misses a constraint, never came to."""
    return 0.0 if FIGURES[name].more else 1e30


_stopping = []


def stop_softly():
    """In a worker: Ctrl-C is the parent's, and when it ends this process, a trial is finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: _stopping.append(number))
