"""The full machine's program and tapes."""
