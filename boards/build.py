"""From a plan to a bitstream, in stages that an interrupted build does not repeat."""

import hashlib
import json
import re
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from celosia.boards.tools import tool
from celosia.sim.toolchain import ToolError

__all__ = ["TimingError", "build", "with_clock"]

BAUD = 1_000_000


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
    say: object

    def run(self, command):
        """Run the tool, unless that is done; its output goes to ``name.log``."""
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
        with log.open("wb") as output:
            done = subprocess.run(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            said = log.read_text(errors="replace").strip()[-2000:]
            raise ToolError(f"{self.name} failed ({done.returncode}), see {log}:\n{said}")
        stamp.write_text(digest.hexdigest())
        self.say(f"{self.name}: {time.monotonic() - begin:.0f} s")


def _portable(part):
    return Path(part).name if part.startswith("/") else part


def with_clock(plan, board, megahertz):
    """``plan`` for a machine that tells its host the board's clock."""
    frequency = round(board.clock(megahertz))
    return replace(plan, info=replace(plan.info, frequency=frequency))


def build(plan, board, folder, *, megahertz, baud=BAUD, seeds=1, allow_fail=False, say=print):
    """Make ``folder/top.bit``: synthesis, placement and routing, bitstream.

    Of ``seeds`` placements the first that meets the clock is taken, else the fastest.

    Returns
    -------
    dict
        ``fmax_mhz``, ``clock_mhz``, ``lut``, ``ff``, ``dsp``, ``bram``, ``bitstream``, ``seed``.

    Raises
    ------
    TimingError
        If no placement meets the clock and that is not allowed.
    celosia.sim.toolchain.ToolError
        If a tool is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = with_clock(plan, board, megahertz)
    _write_design(board, plan.machine(), megahertz, baud, folder)
    (folder / "synthesis.ys").write_text(
        "read_rtlil top.il\nsynth_ecp5 -nodsp -top top -json top.json\ntee -o stat.txt stat\n"
    )
    synthesis = Stage(folder, "synthesis", ("top.il", "synthesis.ys"), ("top.json",), say)
    synthesis.run([*tool("yosys"), "-q", "-l", "yosys.log", "synthesis.ys"])
    wanted = board.clock(megahertz) / 1e6
    best = None
    for seed in range(1, seeds + 1):
        report = _route(board, folder, seed, wanted, say)
        if best is None or report["fmax_mhz"] > best["fmax_mhz"]:
            best = report
        say(f"seed {seed}: {report['fmax_mhz']:.2f} MHz for {wanted:.2f} MHz")
        if report["fmax_mhz"] >= wanted:
            break
    missed = best["fmax_mhz"] < wanted
    if missed and not allow_fail:
        raise TimingError(
            f"the best of {seeds} placements reaches {best['fmax_mhz']:.2f} MHz, "
            f"not {wanted:.2f} MHz: ask for a lower --clock, more --seeds, or --allow-fail"
        )
    config = f"route{best['seed']}.config"
    pack = Stage(folder, f"pack{best['seed']}", (config,), ("top.bit",), say)
    pack.run([*tool("ecppack"), "--compress", "--input", config, "--bit", "top.bit"])
    return {"clock_mhz": wanted, **best, "bitstream": str(folder / "top.bit")}


def _write_design(board, machine, megahertz, baud, folder):
    plan = board.platform().prepare(board.top(machine, megahertz, baud), "top")
    for name in ("top.il", "top.lpf"):
        text = plan.files[name]
        text = text if isinstance(text, str) else text.decode()
        text = re.sub(r"^# Automatically generated.*\n", "", text)
        text = re.sub(r'^ *attribute \\src ".*"\n', "", text, flags=re.MULTILINE)
        (folder / name).write_text(text)


def _route(board, folder, seed, wanted, say):
    """Place and route with ``seed``; what came of it."""
    names = [f"route{seed}.{end}" for end in ("config", "json")]
    stage = Stage(folder, f"route{seed}", ("top.json", "top.lpf"), tuple(names), say)
    options = [board.device, "--package", board.package, "--speed", str(board.speed)]
    options += ["--json", "top.json", "--lpf", "top.lpf", "--textcfg", names[0]]
    options += ["--report", names[1], "--seed", str(seed), "--freq", f"{wanted:.6g}"]
    options += ["--router", "router2", "--timing-allow-fail"]
    stage.run([*tool("nextpnr-ecp5"), *options])
    return {**_read_report(folder / names[1]), "seed": seed}


CELLS = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram": "DP16KD"}


def _read_report(path):
    """Resources, and the speed of the fastest clock (the machine's), of nextpnr's report."""
    report = json.loads(path.read_text())
    clock = max(report["fmax"].values(), key=lambda clock: clock["constraint"])
    used = report["utilization"]
    resources = {
        name: {"used": used[cell]["used"], "available": used[cell]["available"]}
        for name, cell in CELLS.items()
    }
    return {"fmax_mhz": clock["achieved"], **resources}
