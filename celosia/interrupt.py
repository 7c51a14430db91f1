"""Ctrl-C, SIGTERM and SIGHUP as one exception, which nothing swallows."""

import contextlib
import signal
import sys
import threading

__all__ = ["Stopped", "held", "ignore", "install", "restore"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN = 0.002  # seconds until an exception that got lost is raised anew


class Stopped(BaseException):
    """A signal ends the command.

    Attributes
    ----------
    number : int
        The signal's.
    """

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    pending = None  # the signal that ends the command
    held = 0
    on_stop = None


def install(on_stop):
    """Raise :class:`Stopped` in the main thread when a signal comes, after ``on_stop()``.

    Signals that whoever started the command has it ignore (``nohup``) stay ignored. Python throws
    an exception away that is raised while an object is freed: this one is then raised anew.
    """
    _State.on_stop = on_stop
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    signal.signal(signal.SIGALRM, lambda number, frame: _raise())
    before = sys.unraisablehook

    def hook(lost):
        if lost.exc_type is not None and issubclass(lost.exc_type, Stopped):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            before(lost)

    sys.unraisablehook = hook


def ignore():
    """From now on no signal stops what is under way: for the last cleaning up."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    _State.pending = None
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def restore():
    """Signals end the process at once, as they do by default."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def held():
    """No :class:`Stopped` comes within the block; one that was due comes at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
        _raise()


def _stop(number, frame):
    _State.pending = _State.pending or number
    _State.on_stop()
    _raise()


def _raise():
    if _State.pending and not _State.held:
        raise Stopped(_State.pending)
