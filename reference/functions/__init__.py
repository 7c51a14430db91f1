"""Scalar functions in fixed point, and the tables behind them."""
