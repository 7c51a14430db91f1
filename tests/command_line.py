"""Running the command line in a test."""

import re
from xml.etree import ElementTree

from typer.testing import CliRunner

from celosia.cli import app

__all__ = ["SVG", "drawings", "fails", "run"]

SVG = "{http://www.w3.org/2000/svg}"


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


def drawings(page):
    """The SVG drawings of a page, each as its root element."""
    found = re.findall(r"<svg.*?</svg>", page.read_text(encoding="utf-8"), re.DOTALL)
    return [ElementTree.fromstring(text) for text in found]
