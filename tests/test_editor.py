"""What an editor sees of the package: the checker resolves its modules and knows its classes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SOURCE = """\
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.rtl.mac.mac_fabrik import Other

MacFabric(rows=4, lames=8)
"""


@pytest.mark.skipif(
    not (ROOT / ".venv/celosia-sources").is_dir(), reason="`make setup` has not made the links"
)
def test_checker_finds_a_misspelt_module_and_a_misspelt_parameter(tmp_path):
    (tmp_path / "sample.py").write_text(SOURCE)
    checker = Path(sys.executable).with_name("basedpyright")
    command = [checker, "--outputjson", tmp_path / "sample.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300)
    found = json.loads(done.stdout)["generalDiagnostics"]
    said = [(entry["range"]["start"]["line"], entry["rule"]) for entry in found]
    assert (1, "reportMissingImports") in said
    assert (3, "reportCallIssue") in said
    assert 0 not in [line for line, _ in said]
