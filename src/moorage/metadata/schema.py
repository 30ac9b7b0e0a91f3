"""The tables. A change here needs a migration beside it.

Times are microseconds since the epoch (UTC). Digests are `Digest.key`: one byte that names the algorithm, then the raw
digest, so that an index entry is half the size of the text. Names sort by code point on both engines: catalog and tag
pages follow the protocol's ASCII order.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# Constraints have names, so that a later migration can name the one it changes.
metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

_Id = BigInteger().with_variant(Integer(), "sqlite")
_Name = String().with_variant(String(collation="C"), "postgresql")

repositories = Table(
    "repositories",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Name, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

# A row says that the bytes are durable at `location`; only the store that made the location can read it.
blobs = Table(
    "blobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("location", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# A blob is visible in a repository only through its row here.
repository_blobs = Table(
    "repository_blobs",
    metadata,
    Column("repository_id", _Id, ForeignKey("repositories.id"), primary_key=True),
    Column("blob_id", _Id, ForeignKey("blobs.id"), primary_key=True),
    Column("linked_at", BigInteger, nullable=False),
    Index("repository_blobs_by_blob", "blob_id"),
    sqlite_with_rowid=False,
)

# `referrer` is the descriptor that the referrers list shows for this manifest, as JSON, where it has a subject.
manifests = Table(
    "manifests",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("repository_id", _Id, ForeignKey("repositories.id"), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("artifact_type", Text),
    Column("subject", LargeBinary),
    Column("referrer", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("repository_id", "digest"),
)
Index(
    "manifests_by_subject",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.digest,
    sqlite_where=manifests.c.subject.is_not(None),
    postgresql_where=manifests.c.subject.is_not(None),
)

# What a manifest names, by digest: a sparse index may name children that come later or never.
manifest_references = Table(
    "manifest_references",
    metadata,
    Column("manifest_id", _Id, ForeignKey("manifests.id"), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Index("manifest_references_by_digest", "digest"),
    sqlite_with_rowid=False,
)

tags = Table(
    "tags",
    metadata,
    Column("repository_id", _Id, ForeignKey("repositories.id"), primary_key=True),
    Column("name", _Name, primary_key=True),
    Column("manifest_id", _Id, ForeignKey("manifests.id"), nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("tags_by_manifest", "manifest_id"),
    sqlite_with_rowid=False,
)

# `digest` is null where the tag was deleted.
tag_history = Table(
    "tag_history",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("repository_id", _Id, ForeignKey("repositories.id"), nullable=False),
    Column("name", _Name, nullable=False),
    Column("digest", LargeBinary),
    Column("at", BigInteger, nullable=False),
    Column("principal", Text, nullable=False),
    Index("tag_history_by_tag", "repository_id", "name", "id"),
)

# `digest` is that of the first `offset` bytes, in hex, by `algorithm`; `boot` is the kernel's boot id when it was
# written: after a power cut neither can be trusted, since a session's progress is not fsynced.
uploads = Table(
    "uploads",
    metadata,
    Column("id", String, primary_key=True),
    Column("repository", _Name, nullable=False),
    Column("principal", Text, nullable=False),
    Column("algorithm", String, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("digest", Text),
    Column("boot", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("uploads_by_principal", "principal"),
    Index("uploads_by_age", "updated_at"),
    sqlite_with_rowid=False,
)

# What the classic link tree has yet to learn: "look at this key of this repository again". Rows hold no state, so
# writing one twice, or out of order, does no harm.
outbox = Table(
    "outbox",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("kind", SmallInteger, nullable=False),
    Column("repository", _Name, nullable=False),
    Column("key", LargeBinary, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("name", _Name, primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("admin", SmallInteger, nullable=False),
    Column("disabled", SmallInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One row, of what is known of the classic link tree. Until `seen_at` everything in it was written by us; *listed* is 1
# once the names of all repositories that it had at first are in `repositories` or `unadopted`. It was last compared
# with the database from `compared_at` on, and somebody asked for that at `wanted_at`; `holder` is the process that
# did and has kept the tree since, null while it compares.
link_tree = Table(
    "link_tree",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("listed", SmallInteger, nullable=False),
    Column("compared_at", BigInteger, nullable=False),
    Column("wanted_at", BigInteger, nullable=False),
    Column("holder", Text),
    sqlite_with_rowid=False,
)

# Repositories that only the link tree has: they were there before the database was.
unadopted = Table(
    "unadopted",
    metadata,
    Column("repository", _Name, primary_key=True),
    sqlite_with_rowid=False,
)
