"""The best machine of a model for a board, by search."""
