"""Where the tape lies: on chip, AXI, SDRAM, serial flash."""
