"""The compact machine: one datapath, an instruction for each vector operation."""
