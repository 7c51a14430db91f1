"""Running the command line in a test."""

from typer.testing import CliRunner

from celosia.cli import app

__all__ = ["fails", "run"]


def run(*arguments):
    """The result of ``celosia arguments``: ``exit_code``, ``stdout``, ``stderr``."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def fails(*arguments, status=2):
    """The one line of error of a command that must end with ``status``."""
    result = run(*arguments)
    assert result.exit_code == status, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("celosia: error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0].removeprefix("celosia: error: ")
