"""What all passes of a machine have in common: its sizes, latencies and memories."""

from functools import lru_cache
from itertools import groupby

from celosia.generators.config import ConfigError
from celosia.generators.estimate.flows import flows_of
from celosia.generators.estimate.supply import MEMORY_LATENCY, KvWriter, kv_supply, tape_supply
from celosia.rtl.kv_cache.slots import view_table
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.rtl.machine.step import Operand, Scalar
from celosia.rtl.recurrent.recurrent import LOOP, fills
from celosia.rtl.token.sampler import Sampler

__all__ = ["FETCH", "Machinery"]

FETCH = 2  # cycles from a beat's begin to the beat at the fabric
#: What a step says that takes no time.
NOWHERE = ("name", "address", "scale_address", "argument", "shift", "norm", "set", "angles", "head")
SUMS = 9  # from the last block of a softmax to the sums, but for a cycle for each token


class Machinery:
    """The parts of a machine that say how long something takes.

    Parameters
    ----------
    sketch : Sketch
    frequency : number, optional
        The clock's, in Hz: an SDRAM's cycles depend on it.
    latency : int
        Cycles from the address of a burst of AXI memory to its first transfer.
    """

    def __init__(self, sketch, frequency=None, latency=MEMORY_LATENCY):
        if found := sketch.config.kv_page_size:
            raise ConfigError(f"kv_page_size must be 0 for the cycle model, not {found}")
        shape, self.program = sketch.shape, sketch.program
        self.config, self.shape = sketch.config, shape
        self.frequency, self.latency = frequency, latency
        self.lanes, self.rows, self.tokens = shape.lanes, shape.rows, shape.tokens
        self.cached_rows, self.parts, self.paths = shape.places.rows, shape.parts, shape.paths
        self.flows, units = flows_of(sketch)
        form = MacFormat(weight_width=shape.weight_width, ternary=shape.ternary)
        rows_of_cache = int(shape.cached_rows > 0)
        self.fabric, self.sampler = _latencies(shape.lanes, shape.groups, form, rows_of_cache)
        self.sums = FETCH + SUMS - (self.parts > 1)
        self.divides = 6 if any(n & (n - 1) for n in (self.rows, self.cached_rows)) else 0
        self.router = units.get("router")
        self.views, _ = view_table(shape.layer_views)
        self.rings = any(view.wraps for view in self.views)
        self.angles = max((_turning(unit, self.lanes) for unit in self._units("rope")), default=0)
        self.layers = _layers(self.program.steps[:-1])
        self.joined = 3 if shape.groups else 0  # EmbeddingWords

    def _units(self, kind):
        return [unit for route in self.shape.routes for unit in route.units if unit.kind == kind]

    def turned(self, tokens):
        """When the sines of ``tokens`` are there."""
        return self.angles * self.lanes * tokens + 9 if self.angles else 0

    def supplies(self):
        """Fresh supplies: of the tape, of the cache outside or None, and what writes that."""
        tape = tape_supply(self.config, self.shape, self.frequency, self.latency)
        cache = kv_supply(self.config, self.shape, self.latency)
        return tape, cache, KvWriter(self.config, self.shape, self.latency) if cache else None

    def grouping(self, planes=0):
        """Words of the tape that come before the first one is let go."""
        return (self.shape.groups.shortest << planes) if self.shape.groups else 0

    def chosen(self, time):
        """When the numbers of experts, and their weights, are there, behind the last logarithm."""
        unit = self.router
        numbers = [time + unit.number_latency + n * unit.interval for n in range(unit.k)]
        begin = numbers[-1] + unit.weight_latency
        if not unit.renormalise:
            begin += unit.n + -(-unit.n // unit.lanes)
        return numbers, [begin + n for n in range(unit.k)]

    def sizes(self, step, seen):
        """Beats of a tile, tiles, words of results of a step that sees ``seen`` positions."""
        dynamic, view = step.get("dynamic", {}), self.views[step.get("view", 0)]
        piece = self.lanes * self.parts
        reads, tiles = -(-seen // piece), -(-seen // self.cached_rows)
        if view.wraps:
            reads = min(reads, view.slots // piece)
            tiles = min(tiles, view.slots // self.cached_rows)
        scored = reads * self.parts // self.paths
        return (
            reads if dynamic.get("words") else step["words"],
            tiles if dynamic.get("tiles") else step["tiles"],
            scored if dynamic.get("chunks") else step["chunks"],
        )

    def words(self, step):
        """Words of results in a tile, and the cycles for each."""
        together, each, rows, scalar = 1, 1, self.rows, step.get("scalar")
        if scalar in (Scalar.QUERY, Scalar.SUM) or step.get("operand") == Operand.WIDE:
            rows = self.cached_rows
        if self.tokens > 1 and step["route"] == "recurrent" and fills(step["argument"]):
            each = LOOP
        elif scalar == Scalar.QUERY:
            together = self.paths
        elif scalar == Scalar.SUM and self.parts > 1:
            together, each = self.parts, 2
        return rows // self.lanes // together, each


@lru_cache(256)
def _latencies(lanes, groups, form, cached_rows):
    """From the begin of a tile's last beat to its results, from the last logits to the token."""
    fabric = MacFabric(form.group, lanes, 1, form, groups=groups, cached_rows=cached_rows)
    return FETCH + fabric.latency, Sampler(lanes, 1).latency


def _layers(steps):
    """The steps layer by layer: a number that layers which take as long have in common, and them.

    They differ in nothing but names and addresses.
    """
    kinds, layers = {}, []
    for _, group in groupby(steps, lambda step: step["name"].split(".")[1:2]):
        group = list(group)
        form = repr([{n: v for n, v in step.items() if n not in NOWHERE} for step in group])
        layers.append((kinds.setdefault(form, len(kinds)), group))
    return layers


def _turning(unit, lanes):
    """Words of a head that turn, in all sets of angles."""
    increments = dict(unit.settings)["increments"]
    last = (max((n + 1 for n, x in enumerate(one) if x), default=0) for one in increments)
    return sum(-(-2 * pairs // lanes) for pairs in last)
