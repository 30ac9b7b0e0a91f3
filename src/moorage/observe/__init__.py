"""What the server says about itself: log lines that are safe to read and to parse."""
