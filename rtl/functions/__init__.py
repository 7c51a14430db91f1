"""Functions of one variable: tables of segments, reciprocal, root, sine."""
