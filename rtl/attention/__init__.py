"""Rotation, quantised heads and softmax."""
