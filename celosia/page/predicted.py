"""Pages of what is predicted: a run's cycles by cause, the roofline of a model's operations."""

from celosia.page.chart import Dots, Line, bars, chart
from celosia.page.sections import Section, sections_page

__all__ = ["estimate_page", "roofline_page"]


def estimate_page(name, report, rows):
    """A page of what ``celosia estimate`` writes as JSON; ``rows`` are those of its table."""
    total = sum(report["cycles"])
    parts = {"ideal": sum(report["ideal_cycles"]), **report["overhead"]}
    causes = [
        (cause, cycles, f"{cycles:,.0f} ({cycles / total:.1%})")
        for cause, cycles in sorted(parts.items(), key=lambda item: -item[1])
        if cycles >= 0.5
    ]
    lines = [
        Line(label, list(enumerate(report[key])))
        for label, key in (("cycles", "cycles"), ("ideal", "ideal_cycles"))
    ]
    sections = [
        Section("Cycles by cause", bars(causes)),
        Section("Position by position", chart("position", "cycles", lines)),
        Section("Figures", columns=("", "predicted", "error known"), rows=rows),
    ]
    lead = f"{report['clock_mhz']:g} MHz, {len(report['cycles'])} positions, predicted"
    return sections_page(f"{name} on {report['config']['name']}", lead, sections)


def roofline_page(name, report):
    """A page of what ``celosia roofline`` writes as JSON."""
    sections = [
        Section(
            f"Roofline: {phase}",
            _roofline(found["operations"], report["device"]),
            ("operation", "MACs", "MACs/byte", "products, \u00b5s", "memory, \u00b5s", "binds"),
            [_row(one) for one in found["operations"]],
            "A dot is an operation, over its MACs for each byte of the memory that it needs most.",
        )
        for phase, found in report["phases"].items()
    ]
    speed = f"at most {report['tokens_per_second']:,.1f} tokens per second"
    lead = f"{report['device']['name']}, a prompt of {report['prompt_length']} tokens, {speed}"
    return sections_page(f"{name}: roofline", lead, sections)


def _row(one):
    times = [f"{one[f'{part}_seconds'] * 1e6:,.2f}" for part in ("compute", "memory")]
    return one["name"], f"{one['macs']:,}", f"{one['intensity']:.2f}", *times, one["binds"]


def _roofline(operations, device):
    """What bounds products per second, by their number for each byte."""
    groups = {"bound": [], "predicted": []}
    for one in operations:
        x = one["macs"] / _bytes(one["bytes"], device)
        seconds = {
            "bound": max(one["compute_seconds"], one["memory_seconds"]),
            "predicted": one.get("predicted_seconds"),
        }
        for label, time in seconds.items():
            if time:
                groups[label].append((x, one["macs"] / time, one["name"]))
    places = [x for x, _, _ in groups["bound"]]
    low, high, most = min(places) / 2, max(places) * 2, device["macs_per_second"]
    rates = dict(sorted(device["bytes_per_second"].items(), key=lambda item: item[1]))
    lines = []
    for rate in dict.fromkeys(rates.values()):
        names = [name for name, one in rates.items() if one == rate]
        corner = sorted({low, min(max(most / rate, low), high), high})
        points = [(x, min(most, rate * x)) for x in corner]
        lines.append(Line("all memory" if device["shared"] else ", ".join(names), points))
    dots = [Dots(label, points) for label, points in groups.items() if points]
    return chart("MACs for each byte", "MACs per second", [*lines, *dots], log=True)


def _bytes(sizes, device):
    """Those of the memory that an operation needs longest; of a shared one all."""
    rates = device["bytes_per_second"]
    if device["shared"]:
        return sum(sizes[name] for name in rates)
    return sizes[max(rates, key=lambda name: sizes[name] / rates[name])]
