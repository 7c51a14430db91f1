"""Small random models of every family, and what `transformers` computes for them."""
