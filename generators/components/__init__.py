"""The component library: its standard set, prices and clocks."""
