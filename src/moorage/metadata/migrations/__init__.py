"""The schema's history: one file in `versions` for each change, named by its number.

Nothing is ever downgraded: who goes back restores a backup. A new one is begun with
`python -m moorage.metadata.migrations "what changes"` after `schema.py` was edited; then `migrate.HEAD` is raised.
"""
