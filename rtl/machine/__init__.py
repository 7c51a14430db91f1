"""The dataflow machine: its program's steps, its control, its wiring."""
