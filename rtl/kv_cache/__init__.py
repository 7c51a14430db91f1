"""Keys and values: their memories, on chip and outside, and which slot holds what."""
