"""The steps of a build, which an interrupted build does not repeat."""

import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from celosia.sim.toolchain import ToolError, absolute, tool_environment
from celosia.sim.tools import other_versions

from celosia import process
from celosia.output import named, write_text

__all__ = ["Stage", "TimingError", "check_clock"]


class TimingError(RuntimeError):
    """The routed design misses its clock; the message says by how much."""


@dataclass(frozen=True)
class Stage:
    """One step of a build: files made of files, done once as long as nothing changes.

    ``folder/name.done`` keeps the hash of what the outputs were made of.

    Parameters
    ----------
    folder : pathlib.Path
    name : str
    inputs, outputs : tuple of str
        Files in the folder.
    say : function(str)
    """

    folder: Path
    name: str
    inputs: tuple
    outputs: tuple
    say: Callable

    def run(self, command):
        """Run the tool, unless that is done; its output goes to ``name.log``.

        It runs in a folder of its own, which holds its inputs and nothing else; the files that it
        makes are brought to ``folder``.

        Raises
        ------
        ToolError
            If it fails; the message ends with what it said.
        """
        digest = hashlib.sha256(json.dumps([_portable(part) for part in command]).encode())
        for name in self.inputs:
            digest.update((self.folder / name).read_bytes())
        stamp = self.folder / f"{self.name}.done"
        made = all((self.folder / name).is_file() for name in self.outputs)
        if made and stamp.is_file() and stamp.read_text() == digest.hexdigest():
            self.say(f"{self.name}: done before")
            return
        stamp.unlink(missing_ok=True)
        self.say(f"{self.name} ...")
        begin = time.monotonic()
        log = self.folder / f"{self.name}.log"
        with (
            tempfile.TemporaryDirectory(prefix="celosia-") as work,
            named(log, log),
            log.open("wb") as output,
        ):
            for name in self.inputs:
                shutil.copyfile(self.folder / name, Path(work) / name)
            done = process.run(
                absolute(command),
                cwd=work,
                env=tool_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            for path in Path(work).iterdir():
                if path.is_file() and path.name not in self.inputs:
                    shutil.copyfile(path, self.folder / path.name)
        if done.returncode:
            said = log.read_text(errors="replace").strip()[-2000:]
            raise ToolError(f"{self.name} failed ({done.returncode}), see {log}:\n{said}")
        write_text(stamp, digest.hexdigest())
        self.say(f"{self.name}: {time.monotonic() - begin:.0f} s")


def _portable(part):
    return Path(part).name if part.startswith("/") else part


def check_clock(fmax, wanted, seeds, allow_fail, tools=(), whose=""):
    """Refuse a clock of ``fmax`` MHz, the best of ``seeds`` placements, below ``wanted`` MHz.

    ``whose`` clock it is, is told where it is not the machine's.

    Raises
    ------
    TimingError
        If that is not allowed; the message says which of the ``tools`` are of another version than
        those that the figures were made with.
    """
    if fmax < wanted and not allow_fail:
        others = other_versions(tools)
        raise TimingError(
            f"the best of {seeds} placements reaches {whose}{fmax:.2f} MHz, "
            f"not {wanted:.2f} MHz: ask for a lower --clock, more --seeds, or --allow-fail"
            + f" ({others})"
            * bool(others)
        )
