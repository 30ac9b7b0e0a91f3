"""Taking over what another registry wrote into the volume: at first all of it, later what it changed meanwhile."""
