"""The page: what was read, as the numbers, bars and sentences that the template shows."""

from dataclasses import asdict

from markupsafe import Markup

from celosia import __version__
from celosia.generators.config import NAMED, load_config
from celosia.page.picture import machine_picture
from celosia.page.templates import render
from celosia.page.timeline import timeline

__all__ = ["page"]

MEMORIES = 12  # of the largest are listed
RESOURCES = {
    "lut": "LUTs",
    "ff": "flip-flops",
    "dsp": "multiplier blocks",
    "bram": "block RAMs",
    "spram": "single-port RAMs",
}


def page(sources):
    """A whole page of HTML, which loads nothing.

    Parameters
    ----------
    sources : dict
        Of :func:`celosia.page.sources.read_sources`.

    Returns
    -------
    str
        The same sources give the same text.
    """
    machine, build, simulation, evaluation, trace = (
        sources.get(kind) for kind in ("machine", "build", "simulation", "evaluation", "trace")
    )
    name = next((s.model for s in (build, simulation) if s), None)
    return render(
        "page.html",
        version=__version__,
        name=str(machine.model.get("name", "")) if machine else name or "Celosia",
        machine=machine,
        picture=Markup(machine_picture(machine)) if machine else "",
        tapes=_tapes(machine) if machine else [],
        memories=_largest(machine) if machine else [],
        cycles=_cycles(simulation) if simulation else None,
        simulation=simulation,
        timeline=timeline(trace.events) if trace else None,
        build=build,
        resources=_resources(build) if build else [],
        evaluation=evaluation,
        folders=sources["folders"],
        settings=next((s.config for s in (machine, build, simulation) if s), {}),
        commands=_commands(sources),
    )


def _cycles(simulation):
    """Bars: ideal cycles and each cause of the others, the largest first, as shares of all."""
    parts = {"ideal": sum(simulation.ideal_cycles), **simulation.overhead}
    total = sum(simulation.cycles)
    rows = [
        (name, count, _share(count, total)) for name, count in parts.items() if abs(count) >= 0.5
    ]
    highest = max(simulation.cycles, default=0)
    pairs = zip(simulation.cycles, simulation.ideal_cycles, strict=False)
    heights = [(_share(real, highest), _share(ideal, highest)) for real, ideal in pairs]
    rows.sort(key=lambda row: -row[1])
    return {"total": total, "rows": rows, "heights": heights, "highest": highest}


def _tapes(machine):
    """Each tape's sections: name, address, bytes, share of the tape in percent."""
    return [
        (name, tape.bytes, [(s, _share(s.bytes, tape.bytes)) for s in tape.sections])
        for name, tape in machine.memory_map.items()
    ]


def _largest(machine):
    found = sorted(machine.memories, key=lambda memory: (-memory.bits, memory.module, memory.name))
    return [(memory, _share(memory.bits, machine.memory_bits)) for memory in found[:MEMORIES]]


def _resources(build):
    found = [(text, getattr(build, name)) for name, text in RESOURCES.items()]
    return [(text, r, _share(r.used, r.available)) for text, r in found if r is not None]


def _share(part, whole):
    """A percentage from 0 to 100."""
    return min(100.0, max(0.0, 100 * part / whole)) if whole > 0 else 0.0


def _commands(sources):
    """The commands that give the results again, as far as these know them."""
    found = []
    if (machine := sources.get("machine")) is not None:
        name = machine.model.get("name", "MODEL")
        found.append(f"celosia generate {name}{_options(machine.config)} -o DIR")
    if (build := sources.get("build")) is not None:
        options = f"{_options(build.config)} --clock {build.clock_mhz:g} -o DIR"
        found.append(f"celosia build {build.model} --board {build.board}{options}")
    if (run := sources.get("simulation")) is not None:
        prompt = ",".join(map(str, run.prompt_tokens))
        request = f" --prompt-tokens {prompt} --tokens {len(run.tokens)}"
        found.append(f"celosia simulate {run.model}{_options(run.config)}{request}")
    return found


def _options(config):
    """``--config`` and ``--set`` of a result's configuration."""
    base = str(config.get("name"))
    base = base if base in NAMED else "small"
    usual = asdict(load_config(base))
    changed = {n: v for n, v in config.items() if n != "name" and usual.get(n, v) != v}
    return f" --config {base}" + "".join(f" --set {name}={v}" for name, v in changed.items())
