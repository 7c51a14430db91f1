"""Multiply-accumulate: the machine's fabric, its scaling stage, and systolic arrays."""
