"""The compact machine's integers."""
