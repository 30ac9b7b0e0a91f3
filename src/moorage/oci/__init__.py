"""Pure values and parsers: what a client sent becomes a value here or is refused; nothing in this room does I/O."""
