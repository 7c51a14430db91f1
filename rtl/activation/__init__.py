"""What stands between the two matrices of an MLP."""
