"""Plain ports that must change during a run: a list of what to set, cycle by cycle."""

from amaranth.hdl import Shape, Signal
from amaranth.lib import wiring
from celosia.sim import bench
from celosia.sim.payload import decode, encode

__all__ = ["play"]


def play(component, cycles):
    """Set ports in each of ``cycles`` and return what all output ports show in that cycle.

    A cycle is a dict of ports to new values, by names like ``i__valid``; what is not named keeps
    its value, at first 0. Outputs are those that such inputs cause before the next clock edge.
    """
    shapes = {wiring.In: {}, wiring.Out: {}}
    for path, member, value in component.signature.flatten(component):
        if isinstance(getattr(value, "as_value", lambda value=value: value)(), Signal):
            shapes[member.flow]["__".join(map(str, path))] = member.shape
    inputs, outputs = shapes[wiring.In], shapes[wiring.Out]
    job = {
        "inputs": [*inputs],
        "outputs": [name for name, shape in outputs.items() if Shape.cast(shape).width],
        "cycles": [{n: encode(inputs[n], v) for n, v in cycle.items()} for cycle in cycles],
    }
    seen = bench.run_program(component, "bench_script", job)
    return [{n: decode(outputs[n], bits) for n, bits in cycle.items()} for cycle in seen]
