"""Who asks, whether the password is right, and what they may do."""
