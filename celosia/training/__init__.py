"""Training in PyTorch (the extra ``train``): models whose weights are rounded as they learn."""
