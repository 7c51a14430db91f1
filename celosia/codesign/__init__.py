"""Which model should be trained for a board: a law of the loss beside the models of the machine."""
