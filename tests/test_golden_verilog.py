"""Machines' Verilog against the golden files, and the modules of a machine."""

import re
from dataclasses import replace

import pytest
from celosia.generators.verilog import to_rtlil
from celosia.rtl.machine.routes import routes_of
from golden_verilog import FOLDER, MACHINES, digest, plan_of, verilog_of


@pytest.mark.parametrize("name", MACHINES)
def test_no_change(name):
    """After a wanted change: python tests/golden_verilog.py."""
    found = digest(verilog_of(name)).splitlines()
    kept = (FOLDER / f"{name}.txt").read_text().splitlines()
    if found[0] != kept[0]:
        pytest.skip(f"this is {found[0]}, the golden files were made by {kept[0]}")
    assert found == kept


def test_a_digest_tells_what_changed():
    text = "/* Made by hand */\nmodule \\a.b (clk, x);\n  reg x;\n  assign x = 1;\nendmodule\n"
    first, line = digest(text).splitlines()
    assert first == "Made by hand"
    assert line.startswith("a.b: ports 2 assigns 1 registers 1 lines 4, ")
    assert digest(text.replace("= 1", "= 0")).splitlines()[1][:-12] == line[:-12]
    assert digest(text.replace("= 1", "= 0")) != digest(text)


def parts(plan):
    """The names of a machine's direct submodules."""
    text = to_rtlil(plan.machine())
    return set(re.findall(r"^module \\top\.([^.\s$]+)(?:\$\d+)?$", text, re.MULTILINE))


def without(plan, kind):
    """The plan without the units of ``kind`` on its routes."""
    routes = tuple(
        replace(route, units=tuple(unit for unit in route.units if unit.kind != kind))
        for route in plan.shape.routes
    )
    return replace(plan, shape=replace(plan.shape, routes=routes))


def test_a_machine_has_the_modules_that_its_program_needs():
    """Of each route its units and buffer; without a rotation there is none."""
    plan = plan_of("tiny")
    found = parts(plan)
    routes = plan.program.routes
    assert {n for n in found if n.startswith("scaled_")} == {f"scaled_{name}" for name in routes}
    taken = routes_of(plan.shape, plan.program)
    assert {unit.name for route in taken for unit in route.units} <= found
    assert parts(without(plan, "rope")) == found - {"rope"}


def test_a_route_that_no_step_takes_is_not_built():
    plan = plan_of("tiny")
    found = parts(plan)
    idle = [route for route in plan.shape.routes if route.name not in plan.program.routes]
    assert [route.name for route in idle] == ["queries", "keys"]
    assert not {f"scaled_{route.name}" for route in idle} & found
    assert not {unit.name for route in idle for unit in route.units} & found


def changed(plan, **fields):
    """The plan, its first step with other fields."""
    steps = [plan.program.steps[0] | fields, *plan.program.steps[1:]]
    return replace(plan, tapes=replace(plan.tapes, program=replace(plan.program, steps=steps)))


def test_refused():
    """A route that the shape does not have; a member that no unit takes."""
    plan = plan_of("tiny")
    with pytest.raises(ValueError, match=r"route must be one of residual, .*, not 'router'"):
        changed(plan, route="router").machine()
    with pytest.raises(ValueError, match=r"step layers\.0\.wk: no unit of the machine has a bias"):
        to_rtlil(changed(plan, bias=1).machine())
