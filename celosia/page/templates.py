"""The page's templates: what is put into them is escaped."""

import jinja2

from celosia.printable import printable

__all__ = ["render"]


def _shown(value):
    return printable(value) if type(value) is str else value  # not Markup, which is ours


_environment = jinja2.Environment(
    loader=jinja2.PackageLoader("celosia.page", "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
    finalize=_shown,
)


def render(template, /, **values):
    """The text of the template of that name; other programs' characters are shown as escapes."""
    return _environment.get_template(template).render(values)
