"""Several workers at one study: processes of this machine, or a Dask cluster's."""

import importlib
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

from celosia.generators.config import ConfigError
from celosia.search.study import finished, open_study, stop_softly, work

__all__ = ["by_dask", "by_processes"]

LOOK = 0.3  # seconds between two looks at the study
GRACE = 5  # seconds in which a worker may finish its trial
BATCH = 4  # trials of a task for Dask


def by_processes(job, study, jobs, folder, progress):
    """Work on a study with ``jobs`` processes.

    Without a ``job.study`` it is kept in ``folder``. A process that dies loses its trial; the
    others go on.

    Returns
    -------
    Job, Study, list of str
        With the study in its place, and what is to be said.

    Raises
    ------
    ConfigError
        If all have died.
    """
    if not job.study:
        job = replace(job, study=str(Path(folder) / "study.journal"))
        study = open_study(job)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_worker, args=(job, n), daemon=True) for n in range(jobs)]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            progress(finished(study))
            for worker in workers:
                worker.join(LOOK / jobs)
    finally:
        for worker in workers:
            worker.terminate()
        end = time.monotonic() + GRACE
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))
            worker.kill()
    progress(finished(study))
    dead = [worker.exitcode for worker in workers if worker.exitcode]
    if finished(study) < job.trials:
        raise ConfigError(f"all workers of the search ended too early, with {dead}")
    return job, study, [f"a worker ended with {code}: its trial is lost" for code in dead]


def _worker(job, number):
    stop_softly()
    work(job, number)


def by_dask(job, study, address, jobs, progress):
    """Work on a study with the workers of a Dask cluster, ``jobs`` tasks at once (0: all threads).

    Tasks are few trials each, so that an end of this process is soon theirs. A worker that dies
    loses its trial; its task goes to another one.

    Raises
    ------
    ConfigError
        If Dask is missing, nobody answers, or tasks fail.
    """
    try:
        library = importlib.import_module("distributed")
    except ImportError:
        raise ConfigError("--dask needs Dask: pip install 'celosia[dask]'") from None
    try:
        client = library.Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--dask {address}: no cluster answers: {error}") from None
    with client:
        jobs = jobs or sum(client.nthreads().values())
        if not jobs:
            raise ConfigError(f"--dask {address}: the cluster has no workers")
        first = [client.submit(work, job, n, BATCH, pure=False) for n in range(jobs)]
        tasks, number = library.as_completed(first, loop=client.loop), jobs
        for task in tasks:
            if task.status != "finished":
                raise ConfigError(f"--dask {address}: a task failed: {task.exception()}")
            progress(finished(study))
            if finished(study) < job.trials:
                tasks.add(client.submit(work, job, number, BATCH, pure=False))
                number += 1
