"""Sockets, TLS contexts in force, workers, signals, and HTTP/1.1 itself."""
