"""What a machine will do and take, before it is built: its cycles, by analysis."""
