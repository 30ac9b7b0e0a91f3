"""What is known of the classic link tree, and which of its repositories are yet to be adopted."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    tree = op.create_table(
        "link_tree",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("listed", sa.SmallInteger(), nullable=False),
        sa.Column("compared_at", sa.BigInteger(), nullable=False),
        sa.Column("wanted_at", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("link_tree_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "unadopted",
        sa.Column("repository", _Name, nullable=False),
        sa.PrimaryKeyConstraint("repository", name=op.f("unadopted_pkey")),
        sqlite_with_rowid=False,
    )
    # A database that has repositories wrote its tree itself, and knows better than the tree until now.
    known = op.get_bind().execute(sa.text("SELECT count(*) FROM repositories")).scalar()
    op.bulk_insert(
        tree,
        [
            {
                "id": 1,
                "seen_at": time.time_ns() // 1000,
                "listed": int(bool(known)),
                "compared_at": 0,
                "wanted_at": 0,
                "holder": None,
            }
        ],
    )
