"""What the documents point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "bench|boards|celosia|docs|examples|generators|protocol|reference|rtl|sim|tests"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document):
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(rf"\b(?:{FOLDERS})/[\w/]+\.(?:py|md|txt)\b", text))
    linked = set(re.findall(r"\]\((?!http|#)([^)#]+)", text))
    missing = {name for name in named if not (ROOT / name).exists()}
    missing |= {name for name in linked if not (document.parent / name).exists()}
    assert not missing
