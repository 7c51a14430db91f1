"""The compact machine's plan and program."""
