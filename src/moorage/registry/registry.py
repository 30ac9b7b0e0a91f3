"""The registry as one value: what a face is given."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.registry.adopt.intake import Intake
from moorage.registry.browse import Browse
from moorage.registry.delete import Delete
from moorage.registry.gates import Limits
from moorage.registry.pull import Pull
from moorage.registry.push import Push
from moorage.registry.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Registry:
    """Everything that a registry does, each part built once; *intake* comes before any of it."""

    intake: Intake
    pull: Pull
    push: Push
    uploads: Uploads
    browse: Browse
    delete: Delete
    limits: Limits
