"""A machine with Docker and Podman, and what tenants, neighbours and the provider leave in them."""

import json
from typing import Any

from agent.wiper.engines.containers import BOOKING_LABEL, TENANT_LABEL
from tests.host.machines import Machine

PACKAGES = ("podman", "netavark", "catatonit", "crun", "uidmap", "docker.io", "busybox-static", "dbus-user-session")
"""What debootstrap does not add by itself is named: the network of Podman's, the first process of its pods."""

FURNISH = r"""
set -e
cat > /etc/containers/storage.conf <<END
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
END
mkdir -p /srv/tiny/bin
cp /bin/busybox /srv/tiny/bin/
for name in sh sleep touch; do ln -s busybox /srv/tiny/bin/$name; done
tar -C /srv/tiny -c -f /srv/tiny.tar .
cat > /usr/sbin/podman <<END
#!/bin/sh
grep CapBnd /proc/self/status >> /run/podman-capabilities 2> /dev/null
exec /usr/bin/podman "\$@"
END
chmod 755 /usr/sbin/podman
docker info > /run/docker-info
"""
"""Layers of an overlay cannot lie on the overlay that the machine itself is on, so they are plain directories.

The tool that is found first writes down what it might do.
"""

RUN = {
    "docker": ("run", "--detach", "--network=none"),
    # The host of the machine may lend no control groups to it.
    "podman": ("run", "--detach", "--network=none", "--cgroups=disabled"),
}
AS_USER = r"""
import os, pwd, sys
user = pwd.getpwnam(sys.argv[1])
os.initgroups(user.pw_name, user.pw_gid); os.setgid(user.pw_gid); os.setuid(user.pw_uid)
os.chdir(user.pw_dir)
os.environ.update(HOME=user.pw_dir, XDG_RUNTIME_DIR=f'/run/user/{user.pw_uid}')
os.environ['DBUS_SESSION_BUS_ADDRESS'] = f'unix:path=/run/user/{user.pw_uid}/bus'
os.execvp(sys.argv[2], sys.argv[2:])
"""


def label(booking: str) -> str:
    return f"--label={BOOKING_LABEL}={booking}"


def named(name: str) -> str:
    return f"--label={TENANT_LABEL}={name}"


class Engine:
    """One engine of a machine, used as the machine's root uses it."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name

    def tell(self, *words: str) -> str:
        return self.machine.run(self.name, *words).strip()

    def image(self, tag: str, *labels: str) -> str:
        """Make an image of its own, and return its id."""
        changes = [f"--change=LABEL made={tag}", *(f"--change=LABEL {one}" for one in labels)]
        return self.tell("import", *changes, "/srv/tiny.tar", tag).splitlines()[-1].removeprefix("sha256:")

    def run(self, image: str, *options: str) -> str:
        """Start a container that writes into what is mounted at /seen, again and again; return its id."""
        beat = "while true; do touch /seen/beat; sleep 0.2; done"
        return self.tell(*RUN[self.name], *options, image, "/bin/sh", "-c", beat).splitlines()[-1]

    def volume(self, name: str, *options: str) -> str:
        return self.tell("volume", "create", *options, name)

    def volumes_of(self, container: str) -> list[str]:
        return [one["Name"] for one in self.inspect("container", container)["Mounts"] if one["Type"] == "volume"]

    def inspect(self, kind: str, what: str) -> Any:
        return json.loads(self.tell(kind, "inspect", what))[0]

    def all(self) -> dict[str, list[str]]:
        """Every id and name it has."""
        long = ("--all", "--quiet", "--no-trunc")
        kinds = {"container": ("ls", *long), "image": ("ls", *long), "volume": ("ls", "--quiet")}
        told = {kind: self.tell(kind, *words).split() for kind, words in kinds.items()}
        return {kind: sorted({one.removeprefix("sha256:") for one in ids}) for kind, ids in told.items()}
