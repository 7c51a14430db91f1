import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
FAULTS = runpy.run_path(str(BENCH / "mutations.py"), run_name="mutations")["FAULTS"]


def test_every_fault_can_be_planted():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30
    for fault in FAULTS:
        assert (BENCH.parent / fault.file).read_text().count(fault.old) == 1, fault.name


def test_every_fault_was_caught():
    rows = json.loads((BENCH / "mutations.json").read_text())
    assert [row["name"] for row in rows] == [fault.name for fault in FAULTS]
    assert all(row["caught"] for row in rows)


@pytest.mark.slow
def test_every_fault_is_caught():
    command = [sys.executable, str(BENCH / "mutations.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
