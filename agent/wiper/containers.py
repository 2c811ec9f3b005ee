"""Where container engines keep their files; user ids in there mean something inside a container only."""

STORAGE = (
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/lib/lxc",
    "/var/lib/lxd",
    "/var/lib/incus",
    "/var/lib/machines",
    "/var/snap/lxd",
    "/run/containerd",
    "/run/docker",
)
"""Where engines keep files whose user ids are a container's own. Source: each engine's documented data directory."""
