"""The steps for programs that take an authority by an option or a variable."""

from __future__ import annotations

from moorage.trust.place import Place
from moorage.trust.shell import block, confirmed_ca, put, take_away
from moorage.trust.step import Step


def _file(place: Place) -> str:
    return f'"$HOME/.config/moorage/{place.stem}.crt"'


def _saved(place: Place, key: str, title: str, why: str, use: str) -> Step:
    """A client that is told the file each time."""
    to = _file(place)
    return Step(
        key=key,
        title=title,
        why=why,
        install=block(confirmed_ca(place), put('"$new/ca.crt"', to, as_root=False)),
        undo=block(take_away(to, as_root=False)),
        use=use,
    )


def helm(place: Place) -> Step:
    """Charts."""
    ca = _file(place)
    use = f"""helm registry login --ca-file {ca} {place.label}
helm push --ca-file {ca} CHART.tgz oci://{place.label}/charts
helm pull --ca-file {ca} oci://{place.label}/charts/CHART"""
    return _saved(place, "helm", "helm", "helm takes the authority by an option of each command.", use)


def oras(place: Place) -> Step:
    """Artifacts."""
    ca = _file(place)
    use = f"""oras login --ca-file {ca} {place.label}
oras push --ca-file {ca} {place.label}/NAME:TAG FILE
oras pull --ca-file {ca} {place.label}/NAME:TAG"""
    return _saved(place, "oras", "oras", "oras takes the authority by an option of each command.", use)


def crane(place: Place) -> Step:
    """Go's crypto/x509 reads SSL_CERT_FILE on Unix, and the system's folder of certificates beside it."""
    use = f"export SSL_CERT_FILE={_file(place)}\ncrane auth login -u NAME {place.label}"
    why = (
        "crane, cosign and other programs in Go read the file that SSL_CERT_FILE names, and the folder of the machine's"
        " authorities. On macOS they read the keychain only, as Docker Desktop does."
    )
    return _saved(place, "crane", "crane, cosign and other programs in Go", why, use)


def curl(place: Place) -> Step:
    """And what else is a wrapper around it."""
    use = f"curl --cacert {_file(place)} -u NAME {place.url}/v2/_catalog"
    return _saved(place, "curl", "curl", "curl takes the authority by an option.", use)


def regctl(place: Place) -> Step:
    """regctl keeps the certificate in its own configuration."""
    return Step(
        key="regctl",
        title="regctl",
        why="regctl keeps the authority in ~/.regctl/config.json.",
        install=block(
            confirmed_ca(place), f"""regctl registry set --skip-check --cacert "$(cat "$new/ca.crt")" '{place.label}'"""
        ),
        undo=block(f"regctl registry set --skip-check --cacert '' '{place.label}'"),
        use=f"regctl registry login {place.label}",
    )
