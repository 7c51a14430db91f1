"""Products and sums: multipliers, a chip's own blocks, carry-save adders."""
