"""The files that a generated machine consists of."""
