"""A bill of materials in SPDX 2.3, which scanners read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True)
class Component:
    """One package; *kind* is that of its package URL: "deb" or "pypi"."""

    kind: str
    name: str
    version: str
    license: str = "NOASSERTION"

    @property
    def purl(self) -> str:
        """Its package URL (github.com/package-url/purl-spec)."""
        namespace = "debian/" if self.kind == "deb" else ""
        return f"pkg:{self.kind}/{namespace}{quote(self.name)}@{quote(self.version, safe='')}"


def spdx(name: str, image_id: str, components: list[Component], when: int) -> dict[str, Any]:
    """The document for the image *name*, whose configuration has the sha256 *image_id*; *when* in seconds."""
    packages = [
        {
            "SPDXID": f"SPDXRef-{number}",
            "name": component.name,
            "versionInfo": component.version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": component.license,
            "copyrightText": "NOASSERTION",
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": component.purl,
                }
            ],
        }
        for number, component in enumerate(components, 1)
    ]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:sha256:{image_id}",
        "creationInfo": {
            "created": datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: moorage-image"],
        },
        "packages": packages,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package["SPDXID"],
            }
            for package in packages
        ],
    }
