"""Rewrites of the float model, Model to Model."""
