"""A study: the trials so far, and the work on it, by one process or several."""

import signal
import warnings

from celosia import interrupt
from celosia.generators.config import ConfigError
from celosia.search.figures import FIGURES
from celosia.search.job import search_of
from celosia.search.space import changes

__all__ = ["finished", "open_study", "stop_softly", "work"]

NAME = "celosia"
STARTUP = 40  # trials at random, from which the sampler learns


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
