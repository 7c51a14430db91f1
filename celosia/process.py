"""Running tools: whatever ends a command ends its compilers too, and what those have started."""

import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path

from celosia import interrupt

__all__ = ["end", "end_all", "run"]

_running = {}  # process: the folder it works in
_lock = threading.Lock()
_ended = threading.Event()


def run(
    command, *, input=None, timeout=None, own_group=True, **options
) -> subprocess.CompletedProcess:
    """As ``subprocess.run(command, check=False)``; an exception leaves no process behind.

    Parameters
    ----------
    command : list of str
    input : bytes or str, optional
    timeout : float, optional
        In seconds.
    own_group : bool
        The tool gets a process group, so that what it starts can be ended with it. Not for a tool
        that asks questions at the terminal.
    options
        Of ``subprocess.Popen``.

    Returns
    -------
    subprocess.CompletedProcess

    Raises
    ------
    OSError
        If there is no such tool.
    subprocess.TimeoutExpired
    """
    if own_group:
        options["process_group"] = 0
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with interrupt.held():
        process = subprocess.Popen(command, **options)
        with _lock:
            _running[process] = own_group, options.get("cwd")
    try:
        if _ended.is_set():
            raise RuntimeError(f"{command[0]}: not run: the command is ending")
        said, complaints = process.communicate(input, timeout)
    except BaseException:
        with interrupt.held():
            _end(process, own_group)
            process.wait()
            for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
                pipe.close()
        raise
    finally:
        with _lock:
            _running.pop(process, None)
    return subprocess.CompletedProcess(command, process.returncode, said, complaints)


def end(folder):
    """End the tools that work in ``folder``."""
    with _lock:
        for process, (own_group, cwd) in _running.items():
            if cwd is not None and os.path.samefile(cwd, folder):
                _end(process, own_group)


def end_all():
    """End every tool that runs, and every other child; from now on no tool is started any more."""
    _ended.set()
    for process, (own_group, _) in list(_running.items()):
        _end(process, own_group)
    for path in Path("/proc/self/task").glob("*/children"):  # those that libraries have started
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                os.kill(int(child), signal.SIGKILL)


def _end(process, own_group):
    with contextlib.suppress(OSError):
        if process.returncode is None:
            (os.killpg if own_group else os.kill)(process.pid, signal.SIGKILL)
