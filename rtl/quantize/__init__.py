"""Numbers to few bits and back, and the transforms that make that cheap."""
