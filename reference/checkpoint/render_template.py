"""Renders one chat template: the program that :mod:`chat_template`, beside it, runs.

The standard input is JSON with ``text``, ``values``, and the limits ``memory`` and ``seconds``; the
standard output gets ``{"text": ...}`` or ``{"error": ...}``.
"""

import json
import sys
from datetime import datetime

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["render"]


class _Generation(Extension):
    """``{% generation %}``: marks an answer for training; what is in it is written as it is."""

    def __init__(self, environment):
        super().__init__(environment)
        self.tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Refusal(jinja2.TemplateError):
    """What a template raises itself."""


class _Environment(ImmutableSandboxedEnvironment):
    """Says at once what is not allowed, where Jinja's own would wait until it is used."""

    def unsafe_undefined(self, obj, attribute):
        raise jinja2.exceptions.SecurityError(f"the attribute {attribute}")


def _refuse(message):
    raise _Refusal(str(message))


def _to_json(value, indent=None, **options):
    return json.dumps(value, ensure_ascii=False, indent=indent)


def render(text, values):
    """``{"text": ...}`` of the template ``text``, or ``{"error": ...}``: what it did, in words.

    The environment is that of ``transformers``.
    """
    extensions = ["jinja2.ext.loopcontrols", _Generation]
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": lambda form: datetime.now().strftime(form),
    }
    try:
        return {"text": environment.from_string(text).render(values)}
    except jinja2.exceptions.SecurityError as error:
        return {"error": f"does what is not allowed: {error}"}
    except _Refusal as error:
        return {"error": f"refuses this conversation: {error}"}
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"is broken: line {error.lineno}: {error.message}"}
    except MemoryError:
        return {"error": "took too much memory or time"}
    except Exception as error:  # a template may provoke any
        return {"error": f"fails: {error}"}


def _limit(memory, seconds):
    """No more memory and time than that, where the system can say so."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


if __name__ == "__main__":
    work = json.load(sys.stdin)
    _limit(work["memory"], work["seconds"])
    json.dump(render(work["text"], work["values"]), sys.stdout)
