"""Text from files and users as a terminal may have it: nothing that steers it, and no longer."""

import reprlib
import unicodedata

__all__ = ["MESSAGE", "NAME", "columns", "cut", "printable", "shown"]

#: Characters of a message, in one line.
MESSAGE = 300
#: Characters of a name from a file.
NAME = 60

JOINERS = "\u00ad\u200c\u200d"  # within words and emoji

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 4
_SHORT.maxlevel = 3


def printable(text, limit=None, keep=""):
    r"""``text`` with what steers a terminal escaped, as ``\n`` and ``\x1b``, and cut to ``limit``.

    Escaped are control and format characters (such as turn the writing's direction), line ends and
    halves of surrogate pairs; those in ``keep`` stay.
    """
    if not text.isprintable():
        text = "".join(_escape(c) if _steers(c) and c not in keep else c for c in text)
    return cut(text, limit)


def cut(text, limit):
    """``text``, its middle replaced by ``...`` where it has more than ``limit`` characters."""
    if limit is None or len(text) <= limit:
        return text
    end = (limit - 3) // 2
    return f"{text[: limit - 3 - end]}...{text[len(text) - end :]}"


def columns(*names):
    """Columns of a table: what is too long for one goes on below, and nothing is left out."""
    from rich.table import Column

    return [Column(name, overflow="fold") for name in names]


def shown(value):
    """A value from a file for a message: its literal, of at most about 60 characters."""
    return printable(_SHORT.repr(value), 100)


def _steers(character):
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in JOINERS)


def _escape(character):
    return character.encode("unicode_escape").decode("ascii")
