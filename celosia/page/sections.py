"""Pages of sections: each a picture, a table, a sentence."""

from dataclasses import dataclass

from markupsafe import Markup

from celosia import __version__
from celosia.page.templates import render

__all__ = ["Section", "sections_page"]


@dataclass(frozen=True)
class Section:
    """What stands under a title: whatever is not empty.

    Parameters
    ----------
    title : str
    picture : str
        SVG of ours.
    columns : sequence of str
    rows : sequence of sequence of str
    text : str
    """

    title: str
    picture: str = ""
    columns: tuple = ()
    rows: tuple = ()
    text: str = ""

    def __post_init__(self):
        object.__setattr__(self, "picture", Markup(self.picture))


def sections_page(title, lead, sections):
    """A whole page of HTML, which loads nothing."""
    parts = {"title": title, "lead": lead, "sections": sections}
    return render("sections.html", version=__version__, **parts)
