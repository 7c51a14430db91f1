"""A full-speed USB device: line, packets, transactions, endpoints, a serial port (CDC-ACM)."""
