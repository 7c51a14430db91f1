"""Streams of words: their layout, buffers, queues, joins and guards."""
