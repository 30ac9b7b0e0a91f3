"""The command `moorage`: one module for each of its words."""
