"""What monitoring is told about certificates: from their states alone, so that it costs a few small files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from moorage.observe.metrics import Sample
from moorage.tls import renewal, state
from moorage.tls.store import CertificateStore

_MICROSECONDS: Final = 1_000_000


def samples(store: CertificateStore, kept: Callable[[str], bool] = lambda name: True) -> Iterator[Sample]:
    """Of every certificate whose name is *kept*: when it ends, when it is to be renewed, and how often that has failed.

    The label *name* is the domain; "files" for the pair that `tls.certificate` names, and "private" or "private.2" for
    those of the private authority. *issuer* is who signed it. Times are Unix times in seconds.
    """
    for known in state.everything(store):
        if not kept(known.name):
            continue
        labels = {"name": known.name.lstrip("_") if known.name == state.FILES else known.name}
        if known.serial:
            yield Sample(
                "moorage_certificate_not_after_seconds",
                known.not_after / _MICROSECONDS,
                {**labels, "issuer": known.authority},
                "When the certificate expires, by Unix time.",
            )
        if known.name == state.FILES:
            continue
        if known.serial:
            due = renewal.due(known, issuer=known.tried or known.issuer)
            yield Sample(
                "moorage_certificate_renewal_seconds",
                max(due.moment, known.next_attempt, known.held_until) / _MICROSECONDS,
                labels,
                "When the certificate is to be renewed, or that is tried again, by Unix time.",
            )
        yield Sample(
            "moorage_certificate_failures",
            known.failures,
            labels,
            "How often in a row no new certificate could be had.",
        )
