"""The machine as a module of LiteX: celosia_litex.py, with one machine's ports and memories."""

from importlib.resources import files

from celosia.sim.native_ports import top_ports

__all__ = ["litex_module"]


def litex_module(plan, verilog):
    """The text of celosia_litex.py: ``CelosiaCore`` wraps the module ``top`` of `verilog`.

    It is ``generators/templates/celosia_litex.py`` with two tables filled in: direction and width
    of each port, and the bytes behind each AXI master of `plan`.

    Raises
    ------
    ValueError
        If there is no module called top.
    """
    memories = {}
    if plan.config.memory == "axi":
        memories = {f"m_axi{n}": image.nbytes for n, image in enumerate(plan.images())}
    if plan.config.kv_memory == "axi":
        memories["m_axi_kv"] = plan.cache_bytes
    text = files("celosia.generators").joinpath("templates/celosia_litex.py").read_text("utf-8")
    for name, table in {"PORTS": top_ports(verilog), "MEMORIES": memories}.items():
        lines = "".join(f"    {key!r}: {value!r},\n" for key, value in table.items())
        text = text.replace(f"\n{name} = {{}}\n", f"\n{name} = {{\n{lines}}}\n".replace("'", '"'))
    return text
