"""The integer arithmetic of the units of rtl/, one file each."""
