"""Begins a migration: `python -m moorage.metadata.migrations "what changes"` compares schema.py with the last one."""

from __future__ import annotations

import sys

import sqlalchemy
from alembic import command

from moorage.metadata.migrate import HEAD, configuration


def main() -> None:
    """Write `versions/NNNN_what_changes.py` from what schema.py has beyond the migrations there are."""
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        config = configuration(connection)
        command.upgrade(config, "head")
        command.revision(config, sys.argv[1], autogenerate=True, rev_id=f"{int(HEAD) + 1:04d}")


if __name__ == "__main__":
    main()
