"""What a server stands on, looked at on the machine where it runs."""
