"""Tokens in and out: embeddings and samplers."""
