"""Metadata in SQL: one schema, one set of statements, two engines."""
