"""MkDocs' hook: generated pages, links out of docs/, and what commands print, by running them.

A block of code in the language ``sh run`` is executed, and followed by what it printed. A command
that fails ends the build. A comment ``<!-- waveform: UNIT: caption -->`` becomes the unit's.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import wavedrom
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from pages import PACKAGES, STANDARD, api_page, command_page, unit_pages
from waveforms import WAVEFORMS, waveform

__all__ = ["on_config", "on_files", "on_page_markdown", "on_post_page"]

ROOT = Path(__file__).parents[2]
WAVE = re.compile(r"<!-- waveform: (\w+): (.*?) -->")
RUN = re.compile(r"```sh run\n(.*?)```", re.DOTALL)
LINK = re.compile(r"(!?\[[^\]]*\])\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")
BOARDS = sorted((ROOT / "bench" / "boards").glob("*.md"))
LOADED = re.compile(r'(?:<link[^>]*\shref|\ssrc)=["\']?(?:https?:)?//[^>]*')
#: Pages that lie outside docs/: the file, and its place on the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
    "celosia/models/demo/README.md": "demo_model.md",
    **{f"bench/boards/{path.name}": f"boards/{path.name}" for path in BOARDS},
}


def on_config(config):
    """Name the generated pages in the navigation."""
    for entry in config.nav:
        entry.get("Units", []).extend(f"units/{name}.md" for name in STANDARD)
        entry.get("API", []).extend(f"api/{name}.md" for name in PACKAGES)
        entry.get("Evidence", []).extend(f"boards/{path.name}" for path in BOARDS)


def on_files(files, config):
    """Add the generated pages."""
    made = {"command_line.md": command_page()}
    made |= {f"units/{name}.md": page for name, page in unit_pages(WAVEFORMS).items()}
    for name in WAVEFORMS:
        drawing = wavedrom.render(json.dumps(waveform(name)))
        made[f"units/{name}.svg"] = drawing.tostring()
    made |= {f"api/{name}.md": api_page(name) for name in PACKAGES}
    for name, place in OUTSIDE.items():
        path = ROOT / name
        made[place] = _links(path.read_text(encoding="utf-8"), path.parent, Path(place).parent)
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links out of docs/ and commands that are to run."""
    place = Path(page.file.src_uri)
    if (ROOT / "docs" / place).is_file():
        markdown = _links(markdown, (ROOT / "docs" / place).parent, place.parent)
    markdown = WAVE.sub(r"![\2](units/\1.svg)\n\n*\2 ([more](units/\1.md))*", markdown)
    with tempfile.TemporaryDirectory() as folder:  # one for all blocks of a page
        return re.sub(
            r"```sh run\n(.*?)```", lambda found: _ran(found[1], folder), markdown, flags=16
        )


def on_post_page(output, page, config):
    """Refuse what a page would load from elsewhere."""
    if found := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads {found[0]}")


def _links(text, folder, place):
    """A page that lies in ``folder``, for ``place`` on the site; other files become code."""

    def changed(found):
        words, target, anchor = found[1], found[2], found[3] or ""
        path = Path(os.path.normpath(folder / target)).relative_to(ROOT)
        uri = OUTSIDE.get(str(path))
        if uri is None and path.parts[0] == "docs":
            uri = path.relative_to("docs")
        if uri is None:
            return f"{words.strip('![]')} (`{path}`)"
        return f"{words}({os.path.relpath(uri, place)}{anchor})"

    return LINK.sub(changed, text)


def _ran(commands, folder):
    """A block of commands, and what they print."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "COLUMNS": "100", "TERM": "dumb"}
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise PluginError(f"{commands}ended with {done.returncode}: {done.stderr}")
    return f"```sh\n{commands}```\n\n```text\n{done.stdout.rstrip()}\n```"
