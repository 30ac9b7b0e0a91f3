"""The steps for what builds and runs images: Docker in its forms, BuildKit, podman and its kin."""

from __future__ import annotations

from moorage.trust.content import mark
from moorage.trust.place import Place
from moorage.trust.shell import AS_ROOT, asked_fingerprint, block, confirmed_ca, put, take_away
from moorage.trust.step import NO_RESTART, Step
from moorage.trust.windows import add_root, remove_root

_NEW_CA = '"$new/ca.crt"'
_DESKTOP = "Quit Docker Desktop and start it again: it reads the machine's store when it starts."
_KEYCHAIN = "/Library/Keychains/System.keychain"


def docker(place: Place) -> Step:
    """Docker Engine on Linux (docs.docker.com/engine/security/certificates)."""
    to = f"/etc/docker/certs.d/{place.label}/ca.crt"
    return Step(
        key="docker",
        title="Docker Engine on Linux",
        why=f"The engine reads {to} each time that it connects.",
        install=block(confirmed_ca(place), put(_NEW_CA, to)),
        undo=block(take_away(to)),
        restart=f"{NO_RESTART} Only BuildKit in Docker 20.10, if it has used this registry before, wants sudo systemctl"
        " restart docker.",
        use=f"docker login {place.label}",
    )


def docker_rootless(place: Place) -> Step:
    """The same, run by a user (docs.docker.com/engine/security/rootless)."""
    to = f'"${{XDG_CONFIG_HOME:-$HOME/.config}}/docker/certs.d/{place.label}/ca.crt"'
    return Step(
        key="docker-rootless",
        title="Docker Engine on Linux, rootless",
        why="An engine that runs as a user reads that user's ~/.config/docker/certs.d.",
        install=block(confirmed_ca(place), put(_NEW_CA, to, as_root=False)),
        undo=block(take_away(to, as_root=False)),
        use=f"docker login {place.label}",
    )


def docker_mac(place: Place) -> Step:
    """Docker Desktop (docs.docker.com/desktop, FAQs for macOS); crane and others read the same keychain."""
    add = f"""for one in "$new"/*.confirmed; do
  sudo security add-trusted-cert -d -r trustRoot -k {_KEYCHAIN} "$one"
done"""
    delete = f"""for sum in $want; do
  sudo security delete-certificate -t -Z "$(printf '%s' "$sum" | tr 'a-f' 'A-F')" {_KEYCHAIN}
done"""
    return Step(
        key="docker-mac",
        title="Docker Desktop on macOS",
        why="Docker Desktop trusts what the Mac's keychain trusts; so do crane and other programs in Go.",
        install=block(confirmed_ca(place, macos=True), add),
        undo=block(asked_fingerprint(), delete),
        restart=_DESKTOP,
        use=f"docker login {place.label}",
    )


def docker_windows(place: Place) -> Step:
    """Docker Desktop (docs.docker.com/desktop, FAQs for Windows)."""
    return Step(
        key="docker-windows",
        title="Docker Desktop on Windows",
        why="Docker Desktop trusts the Trusted Root Certification Authorities of Windows. Paste this into a PowerShell"
        " that runs as administrator.",
        install=add_root(place),
        undo=remove_root(),
        restart=_DESKTOP,
        use=f"docker login {place.label}",
        language="powershell",
    )


def podman(place: Place) -> Step:
    """Everything built on containers/image (containers-certs.d(5)), CRI-O included."""
    folder = f"containers/certs.d/{place.label}"
    chosen = f"""if [ "$(id -u)" = 0 ]; then base=/etc; else base=$HOME/.config; fi
ca="$base/{folder}/ca.crt\""""
    return Step(
        key="podman",
        title="podman, buildah, skopeo, CRI-O",
        why="They read ~/.config/containers/certs.d of the user who calls them, else /etc/containers/certs.d. Run as"
        " root, these lines write the latter, for everybody.",
        install=block(confirmed_ca(place), chosen, put(_NEW_CA, '"$ca"', as_root=False)),
        undo=block(chosen, take_away('"$ca"', as_root=False)),
        use=f"podman login {place.label}",
    )


def buildkit(place: Place) -> Step:
    """A BuildKit of its own, as `docker buildx` makes them (docs.docker.com/build/buildkit/toml-configuration)."""
    ca, toml = (f'"$HOME/.config/moorage/{place.stem}.{end}"' for end in ("crt", "buildkitd.toml"))
    lines = (
        f"""{{ echo '{mark(place)}'; echo '[registry."{place.label}"]'; echo "  ca = [\\"$to\\"]"; }} > "$new/toml\""""
    )
    return Step(
        key="buildkit",
        title="BuildKit in a builder of docker buildx",
        why="A builder gets its authorities from the file that it was made with. The BuildKit inside the Docker Engine"
        " needs none: it reads what the engine reads.",
        install=block(
            confirmed_ca(place), put(_NEW_CA, ca, as_root=False), lines, put('"$new/toml"', toml, as_root=False)
        ),
        undo=block(take_away(ca, toml, as_root=False)),
        restart="A builder that is there already has to be made anew. A buildkitd of your own takes the two lines in"
        " /etc/buildkit/buildkitd.toml and a restart.",
        use=f"docker buildx create --name moorage --use --buildkitd-config {toml}",
    )


def system(place: Place) -> Step:
    """The store of the distribution: update-ca-certificates(8), update-ca-trust(8)."""
    name = f"moorage-{place.stem}"
    add = f"""{AS_ROOT}
if [ -d /etc/pki/ca-trust/source/anchors ]; then folder=/etc/pki/ca-trust/source/anchors
elif [ -d /etc/ca-certificates/trust-source/anchors ]; then folder=/etc/ca-certificates/trust-source/anchors
elif [ -d /etc/pki/trust/anchors ]; then folder=/etc/pki/trust/anchors
else folder=/usr/local/share/ca-certificates; fi
$root install -d -m 755 "$folder"
for one in "$new"/*.confirmed; do
  to="$folder/{name}-$(basename "$one" | cut -c 1-12).crt"
  {{ echo '{mark(place)}'; cat "$one"; }} > "$new/one"
  $root install -m 644 "$new/one" "$to"
  echo "Written: $to"
done
if [ -n "$(command -v update-ca-trust)" ]; then $root update-ca-trust; else $root update-ca-certificates; fi"""
    remove = f"""{AS_ROOT}
for folder in /etc/pki/ca-trust/source/anchors /etc/ca-certificates/trust-source/anchors /etc/pki/trust/anchors \\
    /usr/local/share/ca-certificates; do
  for to in "$folder/{name}"-*.crt; do
    if [ -e "$to" ]; then $root rm "$to"; echo "Removed: $to"; fi
  done
done
if [ -n "$(command -v update-ca-trust)" ]; then $root update-ca-trust
else $root update-ca-certificates --fresh || $root update-ca-certificates; fi"""
    return Step(
        key="system",
        title="All programs of a Linux machine",
        why="The machine's own store, on Debian, Ubuntu, Fedora, RHEL, SUSE, Arch and Alpine (package ca-certificates):"
        " curl, git, crane, cosign, helm, oras, regctl, and Docker and containerd too, after a restart. Every program"
        " then trusts this authority, for whatever names it may sign.",
        install=block(confirmed_ca(place), add),
        undo=block(remove),
        restart="Programs that are running have read the store: restart those that are to know it, for Docker sudo"
        " systemctl restart docker.",
        use=f"curl {place.url}/v2/",
    )
