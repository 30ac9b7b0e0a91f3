"""The diagnosis: walks the path that a client goes, or what a server stands on, and says of each step how it is."""
