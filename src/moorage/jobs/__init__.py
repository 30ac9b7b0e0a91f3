"""Background work, done by whoever holds its lease."""
