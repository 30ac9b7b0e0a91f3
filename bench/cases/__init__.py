"""The cases, in the order they are run in."""

from __future__ import annotations

from bench.cases import blobs, clients, hostile, images, latency, listings, pushes, referrers, small, storm
from bench.measure import Case

CASES: tuple[Case, ...] = (
    *hostile.IDLE,
    *small.CASES,
    *latency.CASES,
    *blobs.CASES,
    *pushes.CASES,
    *images.CASES,
    *storm.CASES,
    *referrers.CASES,
    *listings.CASES,
    *clients.CASES,
    *hostile.CASES,
)
