"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    _create_repositories_and_blobs()
    _create_manifests()
    _create_tags()
    _create_uploads_and_outbox()
    _create_users_and_leases()


def _create_repositories_and_blobs() -> None:
    op.create_table(
        "repositories",
        sa.Column("id", _Id, nullable=False),
        sa.Column("name", _Name, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("repositories_pkey")),
        sa.UniqueConstraint("name", name=op.f("repositories_name_key")),
    )
    op.create_table(
        "blobs",
        sa.Column("id", _Id, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("blobs_pkey")),
        sa.UniqueConstraint("digest", name=op.f("blobs_digest_key")),
    )
    op.create_table(
        "repository_blobs",
        sa.Column("repository_id", _Id, nullable=False),
        sa.Column("blob_id", _Id, nullable=False),
        sa.Column("linked_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "blob_id", name=op.f("repository_blobs_pkey")),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("repository_blobs_repository_id_fkey")
        ),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("repository_blobs_blob_id_fkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("repository_blobs_by_blob", "repository_blobs", ["blob_id"])


def _create_manifests() -> None:
    op.create_table(
        "manifests",
        sa.Column("id", _Id, nullable=False),
        sa.Column("repository_id", _Id, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("artifact_type", sa.Text()),
        sa.Column("subject", sa.LargeBinary()),
        sa.Column("referrer", sa.LargeBinary()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("manifests_pkey")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("manifests_repository_id_fkey")),
        sa.UniqueConstraint("repository_id", "digest", name=op.f("manifests_repository_id_digest_key")),
    )
    op.create_index(
        "manifests_by_subject",
        "manifests",
        ["repository_id", "subject", "digest"],
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    op.create_table(
        "manifest_references",
        sa.Column("manifest_id", _Id, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("manifest_id", "digest", name=op.f("manifest_references_pkey")),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name=op.f("manifest_references_manifest_id_fkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("manifest_references_by_digest", "manifest_references", ["digest"])


def _create_tags() -> None:
    op.create_table(
        "tags",
        sa.Column("repository_id", _Id, nullable=False),
        sa.Column("name", _Name, nullable=False),
        sa.Column("manifest_id", _Id, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "name", name=op.f("tags_pkey")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("tags_repository_id_fkey")),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name=op.f("tags_manifest_id_fkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("tags_by_manifest", "tags", ["manifest_id"])
    op.create_table(
        "tag_history",
        sa.Column("id", _Id, nullable=False),
        sa.Column("repository_id", _Id, nullable=False),
        sa.Column("name", _Name, nullable=False),
        sa.Column("digest", sa.LargeBinary()),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("tag_history_pkey")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("tag_history_repository_id_fkey")),
    )
    op.create_index("tag_history_by_tag", "tag_history", ["repository_id", "name", "id"])


def _create_uploads_and_outbox() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("repository", _Name, nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.String(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text()),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("uploads_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("uploads_by_principal", "uploads", ["principal"])
    op.create_index("uploads_by_age", "uploads", ["updated_at"])
    op.create_table(
        "outbox",
        sa.Column("id", _Id, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("repository", _Name, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_pkey")),
    )


def _create_users_and_leases() -> None:
    op.create_table(
        "users",
        sa.Column("name", _Name, nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("admin", sa.SmallInteger(), nullable=False),
        sa.Column("disabled", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("users_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("leases_pkey")),
        sqlite_with_rowid=False,
    )
