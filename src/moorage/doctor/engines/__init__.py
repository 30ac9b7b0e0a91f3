"""How the container engines on this machine are set up, as far as it matters for one registry."""
