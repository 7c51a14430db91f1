"""The residual stream and its norms."""
