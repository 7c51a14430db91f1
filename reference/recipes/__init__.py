"""Recipes of quantisation: from a float Model to one in codes."""
