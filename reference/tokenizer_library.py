"""The ``tokenizers`` library at arm's length: its errors and panics become one exception."""

import contextlib
import os

__all__ = ["TokenizerError", "library_errors"]


class TokenizerError(ValueError):
    """A text that a tokenizer cannot cut, or a tokenizer that its library cannot use."""


@contextlib.contextmanager
def library_errors():
    """Errors of the library within, also its panics, as a TokenizerError of one line.

    What a panic prints on the process's standard error is not shown.
    """
    with _quiet():
        try:
            yield
        except BaseException as error:
            # A panic is no Exception, and its class cannot be imported.
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                line = next(iter(str(error).splitlines()), "") or type(error).__name__
                raise TokenizerError(line) from None
            raise


@contextlib.contextmanager
def _quiet():
    """The process's standard error goes nowhere."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
