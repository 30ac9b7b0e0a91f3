"""Moorage: a private Docker and OCI registry with authentication."""

__version__ = "0.1.0"
