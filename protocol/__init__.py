"""What host and machine say to each other: frames, messages, refusals."""
