"""Certificates: those that files hold."""
