"""What each client has to do to trust a private authority: the steps as text, and the same done by a command."""
