"""What a check found, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import singledispatch
from itertools import groupby
from typing import Final

from moorage.cli.tables import number, size
from moorage.metadata.outbox import Kind
from moorage.registry.check.findings import (
    BlobDamaged,
    BytesUnclaimed,
    ContentMissing,
    DatabaseDamaged,
    FactsWrong,
    FilesUnnamed,
    Finding,
    LinksBehind,
    LinksUnknown,
    LinkWrong,
    Loser,
    ManifestDamaged,
    NameDamaged,
    Problem,
    RowsWithoutParent,
    SessionLost,
    TagStray,
    TreeEmpty,
)

_MOST_ALIKE: Final = 10
_MOST_LOSERS: Final = 20
_RESTORE: Final = "restore the database from a backup"
_KINDS: Final = {Kind.LAYER: "blob", Kind.REVISION: "manifest", Kind.TAG: "tag"}
_PROBLEMS: Final = {
    Problem.MISSING: "is missing: there is no file {detail}",
    Problem.SIZE: "has {detail} bytes instead of {row.size}: {row.location}",
    Problem.CONTENT: "is not what was pushed: {row.location} hashes to {detail}",
    Problem.UNREADABLE: "cannot be read: {detail}",
    Problem.ROW: "has a damaged row: its location is {detail!r}",
}


def tell(findings: Sequence[Finding], *, everything: bool) -> Iterator[str]:
    """Lines for a person: damage first, then what is harmless, then what was repaired.

    Of many things alike only the first are told, unless *everything*.
    """
    for state in ("damaged", "harmless", "repaired"):
        mine = sorted((finding for finding in findings if _state(finding) == state), key=_kind)
        for _, alike in groupby(mine, key=_kind):
            group = list(alike)
            told = group if everything or len(group) <= _MOST_ALIKE + 1 else group[:_MOST_ALIKE]
            for finding in told:
                yield f"{state:9} {what(finding)}"
                if not finding.repaired:
                    yield from (f"          {line}" for line in more(finding))
            if len(told) < len(group):
                yield f"{state:9} and {len(group) - len(told):,} more like these; --all tells of each"


@singledispatch
def what(finding: Finding) -> str:
    """The finding in one line."""
    raise NotImplementedError(type(finding).__name__)


@what.register
def _(finding: DatabaseDamaged) -> str:
    return f"the database itself: {finding.text}"


@what.register
def _(finding: RowsWithoutParent) -> str:
    rows = number(finding.rows, "row")
    return f"{rows} of {finding.table} without its row of {finding.parent} ({finding.column})"


@what.register
def _(finding: TreeEmpty) -> str:
    return f"the database has {number(finding.blobs, 'blob')}, and there is not one blob file"


@what.register
def _(finding: BlobDamaged) -> str:
    return f"blob {finding.name} " + _PROBLEMS[finding.problem].format(row=finding.row, detail=finding.detail)


@what.register
def _(finding: ManifestDamaged) -> str:
    return f"manifest {finding.name}: {finding.why}"


@what.register
def _(finding: FactsWrong) -> str:
    return f"manifest {finding.name}: its row is wrong about {', '.join(finding.columns)}"


@what.register
def _(finding: ContentMissing) -> str:
    if finding.held is None:
        return f"manifest {finding.name} names {finding.digest}, which its repository does not have"
    sizes = f"with {finding.size} bytes; its repository has it with {finding.held}"
    return f"manifest {finding.name} names {finding.digest} {sizes}"


@what.register
def _(finding: NameDamaged) -> str:
    if finding.tag is None:
        return f"repository {finding.repository!r}: no repository can have this name"
    return f"tag {finding.tag!r} of {finding.repository}: no tag can have this name"


@what.register
def _(finding: TagStray) -> str:
    return f"tag {finding.repository}:{finding.tag} names a manifest of another repository"


@what.register
def _(finding: LinkWrong) -> str:
    return f"the link file of {_KINDS[finding.kind]} {finding.name} in {finding.repository} is missing or wrong"


@what.register
def _(finding: LinksUnknown) -> str:
    numbers = ((len(finding.tags), "tag"), (finding.revisions, "manifest"), (finding.layers, "blob"))
    named = " and ".join(number(count, name) for count, name in numbers if count)
    return f"the link files of {finding.repository} name {named} that the database does not know"


@what.register
def _(finding: LinksBehind) -> str:
    return f"{number(finding.count, 'link file')} yet to be written"


@what.register
def _(finding: SessionLost) -> str:
    return f"upload {finding.upload_id} to {finding.repository}: its {size(finding.offset)} are gone"


@what.register
def _(finding: BytesUnclaimed) -> str:
    return f"{size(finding.size)} of upload {finding.upload_id}, which does not exist"


@what.register
def _(finding: FilesUnnamed) -> str:
    return f"{number(len(finding.files), 'blob file')}, {size(finding.size)}, that no row names"


@singledispatch
def more(finding: Finding) -> Iterator[str]:
    """Who loses by it, and what to do; nothing where the first line says it all."""
    yield from ()


@more.register(DatabaseDamaged)
@more.register(NameDamaged)
def _(finding: DatabaseDamaged | NameDamaged) -> Iterator[str]:
    yield _RESTORE


@more.register
def _(finding: RowsWithoutParent) -> Iterator[str]:
    if not finding.mendable:
        yield _RESTORE


@more.register
def _(finding: TreeEmpty) -> Iterator[str]:
    yield "is its disk mounted? nothing else was looked at"


@more.register
def _(finding: BlobDamaged) -> Iterator[str]:
    yield from _who_loses(finding.losers)
    if not finding.mendable:
        yield "see to the disk first; what cannot be read is not touched"
    elif finding.losers and finding.released:
        yield "push one of these from a machine that has it: the registry asks for this blob again"
    elif finding.losers:
        yield "with --repair the registry asks for it again; then push one of these from a machine that has it"


@more.register(ManifestDamaged)
@more.register(ContentMissing)
def _(finding: ManifestDamaged | ContentMissing) -> Iterator[str]:
    if finding.tags:
        yield f"tagged {', '.join(finding.tags)}"
    yield "push it again from a machine that has it, or remove it with moorage rm"


@more.register
def _(finding: TagStray) -> Iterator[str]:
    yield "push the tag again, or remove it with moorage rm"


@more.register
def _(finding: LinksUnknown) -> Iterator[str]:
    if finding.deleted:
        yield f"deleted here, and so removed by --repair: {', '.join(finding.deleted[:_MOST_LOSERS])}"
    yield "what else they name was pushed to another registry, or after the database's backup:"
    yield "moorage adopt takes it over"


@more.register
def _(finding: LinksBehind) -> Iterator[str]:
    yield "the server does it when it runs"


@more.register
def _(finding: FilesUnnamed) -> Iterator[str]:
    if finding.kept:
        yield "kept, since link files name things that the database does not know"
    else:
        yield "moorage check --repair removes them while no server runs"


def _who_loses(losers: Sequence[Loser]) -> Iterator[str]:
    for repository, manifest, tags in losers[:_MOST_LOSERS]:
        yield f"needed by {repository}@{manifest}" + (f", tagged {', '.join(tags)}" if tags else "")
    if len(losers) > _MOST_LOSERS:
        yield f"and by {len(losers) - _MOST_LOSERS:,} more manifests"


def _state(finding: Finding) -> str:
    if finding.repaired:
        return "repaired"
    return "harmless" if finding.harmless else "damaged"


def _kind(finding: Finding) -> str:
    return type(finding).__name__
