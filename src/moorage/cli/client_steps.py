"""What has to be done on a client's machine with its certificate, as commands to paste."""

from __future__ import annotations

from typing import Final

_STEPS: Final = """\
Take {cert} and {key} to the machine of {name}, and there, in the folder that has them:

Docker (reads them at once; no restart)
  sudo install -D -m 644 {cert} {docker}/{cert}
  sudo install -D -m 600 {key} {docker}/{key}

On macOS, Docker Desktop (restart it afterwards)
  mkdir -p ~/.docker/certs.d/{host} && cp {cert} {key} ~/.docker/certs.d/{host}/

podman, buildah, skopeo (read them at once)
  sudo install -D -m 644 {cert} {podman}/{cert}
  sudo install -D -m 600 {key} {podman}/{key}

containerd, Kubernetes nodes (where config_path is set: at once)
  sudo install -D -m 644 {cert} {containerd}/{cert}
  sudo install -D -m 600 {key} {containerd}/{key}
  sudo sh -c 'test -e {containerd}/hosts.toml || printf "server = \\"%s\\"\\n[host.\\"%s\\"]\\n" https://{host} https://{host} >{containerd}/hosts.toml'
  echo '  client = [["{containerd}/{cert}", "{containerd}/{key}"]]' | sudo tee -a {containerd}/hosts.toml

curl
  curl --cert {cert} --key {key} https://{host}/v2/

helm, oras
  --cert-file {cert} --key-file {key}

Without root, podman looks into ~/.config/containers/certs.d and Docker into ~/.config/docker/certs.d, and the key has to
be readable there. How a machine comes to trust the server's own certificate is another matter: where a private
authority has signed it, https://{host}/trust tells.
"""  # noqa: E501  (commands stay on one line)


def client_steps(name: str, host: str, certificate: str, key: str) -> str:
    """The steps for client *name* of the registry at *host*, written as in images' names.

    *certificate* and *key* are the names of its files, without anything that a shell would take for something else.
    """
    label = host.removesuffix(":443")
    return _STEPS.format(
        name=name,
        host=label,
        cert=certificate,
        key=key,
        docker=f"/etc/docker/certs.d/{label}",
        podman=f"/etc/containers/certs.d/{label}",
        containerd=f"/etc/containerd/certs.d/{label}",
    )
