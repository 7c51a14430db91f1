"""Run a component against lists of payloads: its Verilog, in Verilator, under cocotb."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from amaranth.lib import stream, wiring
from celosia.sim.payload import decode, encode
from celosia.sim.simulator import BenchFailure, run_program

__all__ = ["BenchFailure", "Result", "run", "run_many", "run_program"]


@dataclass
class Result:
    """What a component did in one run. ``y, cycles = result`` unpacks it.

    Parameters
    ----------
    outputs : dict
        For each output stream the list of its payloads: ints, lists and dicts.
    stream_cycles : dict
        For each stream the cycle numbers in which its payloads were accepted; cycle 0 is the
        first after reset.
    signals : dict
        The plain outputs' values at the end.
    """

    outputs: dict
    stream_cycles: dict
    signals: dict = field(default_factory=dict)

    def __iter__(self):
        single = next(iter(self.outputs.values())) if len(self.outputs) == 1 else self.outputs
        return iter((single, self.cycles))

    @property
    def first_cycle(self):
        """For each stream that moved, the cycle of its first payload."""
        return {name: cycles[0] for name, cycles in self.stream_cycles.items() if cycles}

    @property
    def last_cycle(self):
        """For each stream that moved, the cycle of its last payload."""
        return {name: cycles[-1] for name, cycles in self.stream_cycles.items() if cycles}

    def _ends(self, cycles):
        return {n: c for n, c in cycles.items() if n in self.outputs}

    @property
    def _started(self):
        first = [c for name, c in self.first_cycle.items() if name not in self.outputs]
        return min(first, default=0)

    @property
    def cycles(self):
        """Cycles from the first accepted input to the last output, both counted.

        A component that takes a payload every cycle needs ``n + latency``.
        """
        return max(self._ends(self.last_cycle).values(), default=-1) - self._started + 1

    @property
    def latency(self):
        """Cycles from the first accepted input to the first output; 0 if combinational."""
        return min(self._ends(self.first_cycle).values()) - self._started


@dataclass(frozen=True)
class _Interface:
    """A component's streams and plain members, each by its dotted name."""

    streams: dict
    inputs: dict
    outputs: dict

    @classmethod
    def of(cls, component):
        found = cls({}, {}, {})
        found._walk(component.signature, component, ())
        return found

    def _walk(self, signature, owner, path):
        for name, member in signature.members.items():
            self._member(member, member.dimensions, getattr(owner, name), (*path, name))

    def _member(self, member, dimensions, value, path):
        if dimensions:
            for index in range(dimensions[0]):
                self._member(member, dimensions[1:], value[index], (*path, index))
            return
        name, port = ".".join(map(str, path)), "__".join(map(str, path))
        if member.is_port:
            members = self.inputs if member.flow == wiring.In else self.outputs
            members[name] = SimpleNamespace(port=port, shape=member.shape, init=member.init)
        elif isinstance(member.signature, stream.Signature):
            payload = member.signature.members["payload"]
            plain = getattr(value, "signature", member.signature)
            self.streams[name] = SimpleNamespace(
                name=name,
                port=port,
                shape=payload.shape,
                output=payload.flow == wiring.Out,
                always_valid=plain.always_valid,
                always_ready=plain.always_ready,
            )
        else:
            self._walk(member.signature, value, path)


def run(
    component,
    inputs=None,
    counts=None,
    *,
    stall=0.0,
    seed=0,
    max_cycles=None,
    settings=None,
    after=0,
    waves=None,
):
    """Drive a component's input streams with payloads and collect what its output streams give.

    Checks on every output stream that an offer is neither withdrawn nor changed before it is
    taken, that nothing is undefined, and that in the 16 cycles after the last expected payload
    no further one appears. Every input payload must be taken.

    Parameters
    ----------
    component : wiring.Component
    inputs : dict, or a sequence if there is one input stream
        The payloads of each input stream, by its name (``"i"``, ``"port.i"``, ``"lanes.0"``).
        See :func:`celosia.sim.payload.encode` for their form.
    counts : dict or int, optional
        How many payloads each output stream gives: by default as many as the inputs have; None
        for a stream that is only listened to.
    stall : float, from 0 to less than 1
        Probability, per cycle, of a gap on an input and of not being ready on an output; drawn
        for every stream on its own. One output payload in four then has to be offered before
        the bench becomes ready.
    seed : int
        Chooses the stalls.
    max_cycles : int, optional
        The run fails when it takes longer; by default when nothing moved for 10,000 cycles.
    settings : dict, optional
        Constant values of plain inputs, by name; the others keep their initial values.
    after : int
        Further cycles to run at the end.
    waves : path, optional
        Where to write a VCD file.

    Returns
    -------
    Result

    Raises
    ------
    BenchFailure
        If the component breaks a rule, gives too many payloads, or hangs.
    ValueError
        If a name or a payload does not fit the component.
    """
    case = {"inputs": inputs, "counts": counts, "stall": stall, "seed": seed, "after": after}
    case |= {"max_cycles": max_cycles, "settings": settings}
    return run_many(component, [case], waves=waves)[0]


def run_many(component, cases, *, waves=None):
    """Like :func:`run` for many cases, in one start of the simulator.

    Parameters
    ----------
    component : wiring.Component
        It is reset before each case; the contents of its memories remain.
    cases : sequence of dict
        Each has the arguments of :func:`run` by name; a sequence alone is its `inputs`.

    Returns
    -------
    list of Result
    """
    interface = _Interface.of(component)
    job = {
        "streams": [
            SimpleNamespace(**{k: v for k, v in vars(s).items() if k != "shape"})
            for s in interface.streams.values()
        ],
        "cases": [
            _case(interface, **(case if isinstance(case, dict) else {"inputs": case}))
            for case in cases
        ],
    }
    replies = run_program(component, "celosia.sim.bench_cocotb", job, waves=waves)
    results = []
    for index, answer in enumerate(replies):
        if "failure" in answer:
            where = f" (case {index})" if len(cases) > 1 else ""
            raise BenchFailure(f"{type(component).__name__}{where}: {answer['failure']}")
        results.append(_result(interface, answer))
    return results


def _case(
    interface,
    inputs=None,
    counts=None,
    stall=0.0,
    seed=0,
    max_cycles=None,
    settings=None,
    after=0,
):
    """One case in bits, checked against the component's interface."""
    if not 0 <= stall < 1:
        raise ValueError(f"stall must be from 0 to less than 1, not {stall!r}")
    sources = {name: s for name, s in interface.streams.items() if not s.output}
    sinks = {name: s for name, s in interface.streams.items() if s.output}
    if inputs is None:
        inputs = {}
    elif not isinstance(inputs, dict):
        if len(sources) != 1:
            raise ValueError(f"inputs must be a dict by the streams {[*sources]}")
        inputs = {next(iter(sources)): inputs}
    _check_names("inputs", inputs, sources)
    bits = {
        name: [encode(s.shape, value) for value in inputs.get(name, ())]
        for name, s in sources.items()
    }
    if not isinstance(counts, dict):
        lengths = {len(values) for values in bits.values() if values} or {0}
        if counts is None and len(lengths) > 1:
            raise ValueError("counts must be given: the inputs have unequal lengths")
        counts = dict.fromkeys(sinks, counts if counts is not None else lengths.pop())
    _check_names("counts", counts, sinks)
    if counts.keys() != sinks.keys():
        raise ValueError(f"counts must name every output stream of {[*sinks]}")
    settings = settings or {}
    _check_names("settings", settings, interface.inputs)
    values = {
        member.port: encode(member.shape, settings[name]) if name in settings else _initial(member)
        for name, member in interface.inputs.items()
    }
    return {
        "inputs": bits,
        "counts": counts,
        "stall": stall,
        "seed": seed,
        "max_cycles": max_cycles,
        "settings": values,
        "signals": [member.port for member in interface.outputs.values()],
        "after": after,
    }


def _initial(member):
    return 0 if member.init is None else encode(member.shape, member.init)


def _check_names(what, given, known):
    for name in given:
        if name not in known:
            raise ValueError(f"{what} must be among {[*known]}, not {name!r}")


def _result(interface, answer):
    streams = interface.streams
    return Result(
        {
            name: [decode(streams[name].shape, bits) for bits in payloads]
            for name, payloads in answer["payloads"].items()
        },
        answer["cycles"],
        {
            name: decode(member.shape, answer["signals"][member.port])
            for name, member in interface.outputs.items()
        },
    )
