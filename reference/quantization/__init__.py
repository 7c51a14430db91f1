"""From a float model to integers: calibration, formats, matrices."""
