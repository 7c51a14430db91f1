"""Where the results of a model's operations go: the routes of its machine, and their units."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.operations.add import IntegerAdd
from celosia.reference.operations.attention import IntegerAttention
from celosia.reference.operations.clip import IntegerClip
from celosia.reference.operations.gate import IntegerGate
from celosia.reference.operations.hadamard import IntegerHadamard
from celosia.reference.operations.norm import WEIGHTS_SHIFT, IntegerStreamNorm
from celosia.reference.operations.recur import IntegerRecur
from celosia.reference.operations.rotate import IntegerRotate
from celosia.rtl.machine.shape import Route, Unit

__all__ = ["Way", "Ways"]


@dataclass(frozen=True)
class Way:
    """Of an operation's results: the ``route``, what takes them at its end as the vector ``name``,
    and on it."""

    route: str
    name: str = ""
    end: object = None
    norm: IntegerStreamNorm | None = None
    rotate: IntegerRotate | None = None
    limit: int | None = None
    transform: tuple | None = None


class Ways:
    """The ways of a quantised model, and the sets of gains and angles that its units need."""

    def __init__(self, model):
        self.model = model
        self.angles, self.norms, self.gates, self.caps, self.routers = [], {}, [], {}, []
        self.limits, self.transforms = {}, {}
        self.states, self.weights = [], []
        rotations = [op for op in model.operations if isinstance(op, IntegerRotate)]
        self.rotates = bool(rotations)
        if rotations:
            self.still = (0,) * len(rotations[0].increments)

    def after(self, operations, index):
        """The way of the results of the operation at ``index`` of a layer."""
        name = operations[index].out
        norm = rotate = limit = transform = None
        for op in operations[index + 1 :]:
            if isinstance(op, IntegerStreamNorm) and op.input == name:
                norm, name = op, op.out
            elif isinstance(op, IntegerRotate) and op.vector == name:
                rotate = op
            elif isinstance(op, IntegerClip) and op.vector == name:
                limit = op.limit
            elif isinstance(op, IntegerHadamard) and op.vector == name:
                transform = op.size, op.width
            elif isinstance(op, IntegerAdd) and op.input == name:
                return Way("added" if norm else "residual", name, op, norm)
            elif isinstance(op, IntegerAttention) and name in (op.source.q, op.source.k):
                route = self._heads(operations, op, name)
                return Way(route, name, op, norm, rotate, limit, transform)
            elif isinstance(op, IntegerAttention) and name == op.source.v:
                return Way("values", name, op)
            elif isinstance(op, IntegerRecur) and name in op.source.inputs:
                return Way("recurrent", name, op)
            elif isinstance(op, IntegerGate) and op.input == name:
                return Way("gated", name, op)
            elif getattr(op, "input", None) == name:
                return Way("", name, op, norm, transform=transform)
        raise ValueError(f"nothing reads {name}")

    def _heads(self, operations, attention, name):
        """Norms over all heads of queries and of keys are two units where their sizes differ."""
        s = attention.source
        norms = [op for op in operations if isinstance(op, IntegerStreamNorm) and op.out == s.q]
        if norms and norms[0].source.groups == 1 and s.n_heads != s.n_kv_heads:
            return "queries" if name == s.q else "keys"
        return "heads"

    def members(self, way, route=None):
        """What a step says to the units on its way."""
        members = {}
        route = route or way.route
        if route in ("heads", "queries", "keys") and self.rotates:
            increments = way.rotate.increments if way.rotate else self.still
            members["angles"] = _number(self.angles, increments)
        if self.transforms.setdefault(route, way.transform) != way.transform:
            raise ValueError(f"{route} with different transforms needs two units")
        if way.norm:
            members["set"] = self._norm(route, way.norm)
            if self.limits.setdefault(route, way.limit) != way.limit:
                raise ValueError(f"{way.norm.source.key} with different limits needs two units")
        return members

    def _norm(self, route, norm):
        """The number of a norm's gains among those of its route's unit."""
        sets = self.norms.setdefault(route, [])
        for number, (other, _) in enumerate(sets):
            if other is norm:
                return number
            if (other.epsilon, len(other.gains)) != (norm.epsilon, len(norm.gains)):
                raise ValueError(f"{norm.source.key} and {other.source.key} need two units")
        sets.append((norm, norm.shift))
        return len(sets) - 1

    def gate(self, op):
        """Note an activation; a machine has one."""
        _number(self.gates, (op.source.activation, bool(op.source.up)))
        if len(self.gates) > 1:
            raise ValueError("layers with different activations need two units")

    def weigh(self, norm):
        """Note what a norm of the residual stream is of, in the order of the norms' gains."""
        ones = [1 << WEIGHTS_SHIFT] * len(norm.gains)
        weights = ones if norm.weights is None else norm.weights.tolist()
        self.weights.append((tuple(weights), norm.weights is not None))

    def recurrent(self, op):
        """The number of the states of one more layer; a machine has one unit for all."""
        formats = {(each.state_fraction, each.shift, each.width) for each in [*self.states, op]}
        if len(formats) > 1:
            raise ValueError("layers whose states have different formats need two units")
        self.states.append(op)
        return len(self.states) - 1

    def experts(self, op):
        """Note a router; a machine has one."""
        s = op.source
        _number(self.routers, (s.n, s.k, op.fraction, s.renormalise))
        if len(self.routers) > 1:
            raise ValueError("layers with different numbers of experts need two units")

    @property
    def n_experts(self):
        """The number of experts, 0 where there are none."""
        return self.routers[0][0] if self.routers else 0

    def cap(self, route, cap):
        """Note a limit of scores or logits; a machine has one of each."""
        if self.caps.setdefault(route, cap) != cap:
            raise ValueError(f"{route} with different caps need two units")

    def routes(self, attention_start, hidden_start):
        """The routes, once all steps have asked for what they need."""
        units = Unit("residual"), *self._weigh(), Unit("norm")
        routes = [Route("residual", units, "activations")]
        if "added" in self.norms:
            routes.append(Route("added", self._stream_norm("added"), "residual"))
        for name in ("heads", "queries", "keys"):
            suffix = "" if name == "heads" else f"_{name}"
            units = self._stream_norm(name)
            if self.rotates:
                settings = (("increments", tuple(self.angles)),)
                units = (*units, Unit("rope", f"rope{suffix}", settings))
            units = (*units, *self._transform(name))
            if name != "queries":
                units = (*units, *self._key_mean())
            rounding = Unit("head_quantize", f"head_quantize{suffix}", self._widths(name))
            units = (*units, rounding)
            routes.append(Route(name, units, name))
        gate = ()
        if self.gates:
            ((activation, gated),) = self.gates
            gate = (Unit("gate", settings=(("activation", activation), ("gated", gated))),)
        value_units = ()
        if self.model.scheme.value_steps == "token":
            settings = ("logarithmic", True), ("width", self.model.scheme.value_width)
            value_units = (Unit("head_quantize", "value_quantize", settings),)
        routes += [
            Route("values", value_units, "values"),
            Route("scores", (*self._cap("scores"), Unit("softmax")), "scores"),
            Route(
                "gated",
                (*gate, *self._transform("gated"), *self._stream_norm("gated")),
                "activations",
                hidden_start,
            ),
            Route("attention", self._stream_norm("attention"), "activations", attention_start),
            *self._recurrent(attention_start),
            *self._router(),
            Route("logits", self._cap("logits"), "sampler"),
        ]
        return tuple(routes)

    def _weigh(self):
        """What is normed is first multiplied, where any norm asks for that."""
        if not any(asked for _, asked in self.weights):
            return ()
        weights = tuple(each for each, _ in self.weights)
        return (Unit("weigh", settings=(("weights", weights),)),)

    def _recurrent(self, start):
        if not self.states:
            return
        first = self.states[0]
        settings = (
            ("most", tuple(tuple(op.most.tolist()) for op in self.states)),
            ("state_fraction", first.state_fraction),
            ("shift", first.shift),
            ("o_width", first.width),
        )
        units = Unit("recurrent", settings=settings), *self._stream_norm("recurrent")
        yield Route("recurrent", units, "activations", start)

    def _transform(self, route):
        """The Hadamard transform of a route's words, if there is one."""
        if self.transforms.get(route):
            size, width = self.transforms[route]
            name = "hadamard_hidden" if route == "gated" else f"hadamard_{route}"
            yield Unit("hadamard", name, (("size", size), ("width", width)))

    def _widths(self, route):
        """What tells a route's quantiser the width of keys, where that is not the queries'."""
        width, name = self.model.scheme.key_width, {"heads": "key_width", "keys": "width"}
        return ((name[route], width),) if width < 8 and route in name else ()

    def _key_mean(self):
        """What takes the layers' means from the keys."""
        attentions = [op for op in self.model.operations if isinstance(op, IntegerAttention)]
        if all(op.key_mean is None for op in attentions):
            return
        size = attentions[0].source.n_kv_heads * self.model.head_dim
        means = [np.zeros(size, int) if op.key_mean is None else op.key_mean for op in attentions]
        means = tuple(tuple(mean.reshape(-1).tolist()) for mean in means)
        yield Unit("key_mean", settings=(("means", means),))

    def _router(self):
        names = ("n", "k", "fraction", "renormalise")
        for router in self.routers:
            unit = Unit("router", settings=tuple(zip(names, router, strict=True)))
            yield Route("router", (unit,), "experts")

    def _stream_norm(self, route):
        if route not in self.norms:
            return ()
        norms = [norm for norm, _ in self.norms[route]]
        settings = (
            ("gains", tuple(tuple(norm.gains.tolist()) for norm in norms)),
            ("shifts", tuple(norm.shift for norm in norms)),
            ("epsilon", norms[0].epsilon),
            ("o_width", norms[0].width),
        )
        if any(norm.offsets is not None for norm in norms):
            rows = (norm.gains * 0 if norm.offsets is None else norm.offsets for norm in norms)
            settings += (("offsets", tuple(tuple(row.tolist()) for row in rows)),)
        if self.limits[route] is not None:
            settings += (("limit", self.limits[route]),)
        return (Unit("stream_norm", f"norm_of_{route}", settings),)

    def _cap(self, route):
        if route not in self.caps:
            return ()
        return (Unit("soft_cap", f"cap_of_{route}", (("cap", self.caps[route]),)),)


def _number(found, item):
    """The place of ``item`` among those ``found``, where it now is."""
    if item not in found:
        found.append(item)
    return found.index(item)
