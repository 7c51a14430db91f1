"""Components as Verilog: a product, the same text on every run."""

from amaranth.back import rtlil, verilog
from amaranth.hdl import Const, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["to_rtlil", "to_verilog"]


def _ports(component):
    """The ports of a component's signature: ``{"i__payload": (signal, direction), ...}``.

    Constant members (``valid`` of an ``always_valid`` stream) are no ports.
    """
    if not isinstance(component, wiring.Component):
        raise TypeError(f"component must be a wiring.Component, not {component!r}")
    ports = {}
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if not isinstance(value, Const):
            way = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
            ports["__".join(map(str, path))] = (value, way)
    return ports


def to_verilog(component, name="top"):
    """The Verilog text of `component`, with a top module called `name`.

    The ports are the members of the component's signature, joined by two underscores
    (``i__payload``, ``i__valid``, ``i__ready``), and ``clk`` and ``rst`` when it has a register.
    The text depends on the component only: no source paths, no dates.

    Parameters
    ----------
    component : wiring.Component
    name : str

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If the component is no ``wiring.Component``.
    """
    return verilog.convert(
        component, name=name, ports=_ports(component), emit_src=False, strip_internal_attrs=True
    )


def to_rtlil(component, name="top"):
    """The RTLIL text of `component`: what :func:`to_verilog` starts from, at once and in Python.

    Equal RTLIL gives equal Verilog, so that its hash tells whether anything changed.
    """
    return rtlil.convert(component, name=name, ports=_ports(component), emit_src=False)
