"""What an adoption found, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Final

from moorage.cli.tables import number, size
from moorage.registry.adopt.findings import ACTIONS, HARMLESS, Finding, Report, changes

_MOST_ALIKE: Final = 10


def tell(report: Report, data: Path, *, everything: bool) -> Iterator[str]:
    """The report in lines; of many things alike only the first are told, unless *everything*."""
    parts = [
        number(report.repositories, "repository", "repositories"),
        number(report.tags, "tag"),
        number(report.manifests, "manifest"),
        f"{number(report.blobs, 'blob')} ({size(report.bytes)})",
        number(report.links, "link file"),
    ]
    yield f"{data}: " + ", ".join(parts)
    if report.referrers_tags:
        yield (
            f"{number(report.referrers_tags, 'tag')} of the referrers tag schema (sha256-...): kept as a tag, and what"
            " it lists is in the referrers list too"
        )
    if report.uploads:
        yield (
            f"{number(report.uploads, 'upload')} in progress ({size(report.upload_bytes)}): left where they are; their"
            " clients begin again"
        )
    if report.stranded:
        yield (
            f"going back: registry:2 and registry:3 cannot serve {number(len(report.stranded), 'manifest')} of a type"
            " that was withdrawn (application/vnd.oci.artifact.manifest.v1+json)"
        )
        told = report.stranded if everything else report.stranded[:_MOST_ALIKE]
        yield from (f"          {name}" for name in told)
        if len(told) < len(report.stranded):
            yield f"          and {len(report.stranded) - len(told):,} more; --all tells of each"
    for state, harmless in (("broken", False), ("harmless", True)):
        yield from _tell_findings(report, state, harmless=harmless, everything=everything)


def _tell_findings(report: Report, state: str, *, harmless: bool, everything: bool) -> Iterator[str]:
    mine = sorted(
        (finding for finding in report.findings if (finding.what in HARMLESS) is harmless),
        key=lambda finding: (finding.what.name, finding.where),
    )
    for what, alike in groupby(mine, key=lambda finding: finding.what):
        group = list(alike)
        told = group if everything or len(group) <= _MOST_ALIKE + 1 else group[:_MOST_ALIKE]
        for finding in told:
            yield f"{state:9} {finding.where}: {what.value}" + (f": {finding.detail}" if finding.detail else "")
        left = report.counts[what] - len(told)
        if left:
            yield f"{state:9} and {left:,} more like these" + ("" if everything else "; --all tells of each")
        yield f"          {ACTIONS[what]}"


def verdict(report: Report, *, dry_run: bool) -> str:
    """The last line: what was done, or would be."""
    told = changes(report)
    if not told:
        return "everything in the volume is known to Moorage"
    return f"{'a dry run, nothing was changed; to be taken over' if dry_run else 'taken over'}: {told}"


def as_json(report: Report, data: Path, *, done: bool) -> dict[str, object]:
    """The same for programs."""
    return {
        "data": str(data),
        "done": done,
        "repositories": report.repositories,
        "tags": report.tags,
        "manifests": report.manifests,
        "blobs": report.blobs,
        "bytes": report.bytes,
        "links": report.links,
        "uploads": {"count": report.uploads, "bytes": report.upload_bytes},
        "referrers_tags": report.referrers_tags,
        "added": asdict(report.added),
        "moved": report.moved,
        "removed": {**asdict(report.removed), "collected": report.lost},
        "links_to_write": report.rewritten,
        "cannot_go_back": report.stranded,
        "broken": report.broken,
        "findings": [_finding_as_json(finding) for finding in report.findings],
    }


def _finding_as_json(finding: Finding) -> dict[str, object]:
    return {
        "kind": finding.what.name.lower(),
        "where": finding.where,
        "what": finding.what.value,
        "detail": finding.detail,
        "action": ACTIONS[finding.what],
        "harmless": finding.what in HARMLESS,
    }
