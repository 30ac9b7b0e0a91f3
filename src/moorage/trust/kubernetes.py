"""The steps for containerd and what Kubernetes is run by."""

from __future__ import annotations

from moorage.trust.content import hosts_toml_lines, mark
from moorage.trust.place import Place
from moorage.trust.shell import block, confirmed_ca, put, put_lines, quote, take_away, take_away_lines
from moorage.trust.step import Step

CONTAINERD = "/etc/containerd/certs.d"
_NEW_CA = '"$new/ca.crt"'


def containerd(place: Place) -> Step:
    """containerd, docs/hosts.md: `config_path`; ctr is told on its command line, nerdctl looks there by itself."""
    ca, toml = (f"{CONTAINERD}/{place.label}/{name}" for name in ("ca.crt", "hosts.toml"))
    lines = hosts_toml_lines(place, ca)
    return Step(
        key="containerd",
        title="containerd, nerdctl, Kubernetes nodes",
        why=f"containerd reads {toml}, which names the authority's file beside it. On every node of a cluster.",
        install=block(confirmed_ca(place), put(_NEW_CA, ca), put_lines(lines, toml, quote(lines[-1]))),
        undo=block(take_away_lines(lines, toml), take_away(ca)),
        restart="Not for ctr and nerdctl, nor for Kubernetes if /etc/containerd/config.toml has config_path ="
        f' "{CONTAINERD}" below [plugins."io.containerd.grpc.v1.cri".registry] (containerd 2:'
        ' [plugins."io.containerd.cri.v1.images".registry]). If that line has to be added: sudo systemctl restart'
        " containerd, once.",
        use=f"sudo ctr images pull --hosts-dir {CONTAINERD} --user NAME {place.label}/IMAGE:TAG\n"
        f"nerdctl login {place.label}",
    )


def k3s(place: Place) -> Step:
    """docs.k3s.io, Private Registry Configuration."""
    ca, yaml = f"/etc/rancher/k3s/moorage-{place.stem}.crt", "/etc/rancher/k3s/registries.yaml"
    lines = (mark(place), "configs:", f'  "{place.label}":', "    tls:", f'      ca_file: "{ca}"')
    advice = " ".join(quote(line) for line in lines[1:])
    return Step(
        key="k3s",
        title="k3s",
        why=f"k3s makes containerd's configuration from {yaml}, on every node. RKE2 does the same with"
        " /etc/rancher/rke2.",
        install=block(confirmed_ca(place), put(_NEW_CA, ca), put_lines(lines, yaml, advice)),
        undo=block(take_away_lines(lines, yaml), take_away(ca, folder=False)),
        restart="sudo systemctl restart k3s (on agents: k3s-agent). Containers keep running.",
    )


def kind(place: Place) -> Step:
    """kind.sigs.k8s.io, Local Registry: the nodes are containers; from 0.27 on they read certs.d by themselves."""
    folder = f"{CONTAINERD}/{place.label}"
    words = " ".join(quote(line) for line in hosts_toml_lines(place, f"{folder}/ca.crt"))
    copy = f"""printf '%s\\n' {words} > "$new/hosts.toml"
for node in $(kind get nodes); do
  docker exec "$node" mkdir -p {quote(folder)}
  docker exec -i "$node" cp /dev/stdin {quote(folder + "/ca.crt")} < "$new/ca.crt"
  docker exec -i "$node" cp /dev/stdin {quote(folder + "/hosts.toml")} < "$new/hosts.toml"
done"""
    undo = f"""for node in $(kind get nodes); do docker exec "$node" rm -rf {quote(folder)}; done"""
    return Step(
        key="kind",
        title="kind",
        why="A node of kind is a container with a containerd in it. Nodes made later need the same again.",
        install=block(confirmed_ca(place), copy),
        undo=block(undo),
        restart="Not with kind 0.27 or later. Before, the cluster has to be made with config_path set.",
    )


def minikube(place: Place) -> Step:
    """minikube.sigs.k8s.io, Untrusted Certificates."""
    to = f'"$HOME/.minikube/certs/moorage-{place.stem}.crt"'
    return Step(
        key="minikube",
        title="minikube",
        why="minikube copies ~/.minikube/certs into its machine when it starts.",
        install=block(confirmed_ca(place), put(_NEW_CA, to, as_root=False)),
        undo=block(take_away(to, as_root=False, folder=False)),
        restart="minikube stop; minikube start --embed-certs",
    )
