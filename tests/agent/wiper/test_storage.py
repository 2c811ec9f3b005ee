"""What lies where engines keep their files is never taken for the tenant's, however they were told where that is."""

import pytest

from shared.documents import PlaceReport, WipeEvidence, WipeWork
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import Machine, Platform, Wiper

TOLD = r"""
set -e
mkdir -p /etc/containerd/more /etc/containers/storage.conf.d /usr/share/containers /etc/default /etc/buildkit /etc/docker
mkdir -p /etc/systemd/system/containerd.service.d /usr/lib/systemd/system /run/programs
cat > /etc/containerd/config.toml <<END
root = "/data/containerd-root"
state = "/data/containerd-state"
imports = ["/etc/containerd/more/*.toml"]
END
echo '[plugins."io.containerd.snapshotter.v1.native"]
root_path = "/data/containerd-snapshots"' > /etc/containerd/more/one.toml
echo '[storage]
graphroot = "/data/podman-vendor"' > /usr/share/containers/storage.conf
echo '[storage]
graphroot = "/data/podman-root"
imagestore = "/data/podman-images"
[storage.options]
additionalimagestores = ["/data/podman-more-images"]' > /etc/containers/storage.conf
echo '[storage]
runroot = "/data/podman-drop-in"' > /etc/containers/storage.conf.d/1.conf
echo 'root = "/data/buildkit-root"' > /etc/buildkit/buildkitd.toml
echo 'DOCKER_OPTS="--graph=/data/docker-variable"' > /etc/default/docker
printf '[Service]
ExecStart=/usr/bin/dockerd -H fd:// \
  --data-root /data/docker-unit $DOCKER_OPTS
'     > /usr/lib/systemd/system/docker.service
printf '[Service]
ExecStart=
ExecStart=-/usr/bin/containerd --state=${WHERE}
Environment="WHERE=/data/containerd-unit"
'     > /etc/systemd/system/containerd.service.d/1.conf
echo '{"data-root": "/data/docker-own-settings"}' > /etc/docker/own.json
printf '#!/bin/sh
sleep 1000
' > /run/programs/dockerd
chmod 755 /run/programs/dockerd
for name in containerd buildkitd podman; do cp /run/programs/dockerd /run/programs/$name; done
cd /run/programs
./dockerd -g /data/docker-running --exec-root=/data/docker-exec --config-file /etc/docker/own.json > /dev/null 2>&1 & echo $! >> pids
./containerd --root /data/containerd-running > /dev/null 2>&1 & echo $! >> pids
./buildkitd --root=/data/buildkit-running > /dev/null 2>&1 & echo $! >> pids
./podman --runroot /data/podman-running system service > /dev/null 2>&1 & echo $! >> pids
setpriv --reuid=65534 --regid=65534 --clear-groups ./dockerd --data-root /data/nobodys > /dev/null 2>&1 & echo $! >> pids
unshare --pid --fork --kill-child ./dockerd --data-root /data/of-a-container > /dev/null 2>&1 & echo $! >> pids
"""
PLACES = (
    *("containerd-root", "containerd-state", "containerd-snapshots", "containerd-unit", "containerd-running"),
    *("podman-vendor", "podman-root", "podman-images", "podman-more-images", "podman-drop-in", "podman-running"),
    *("buildkit-root", "buildkit-running"),
    *("docker-variable", "docker-unit", "docker-own-settings", "docker-running", "docker-exec"),
)
HIS = ("nobodys", "of-a-container", "untold")
"""Named by none, or by who has no say in it."""


def wiped(wiper: Wiper, platform: Platform, machine: Machine, user: str, script: str) -> WipeEvidence:
    target = wiper.grant(platform.grant(user))
    machine.run("sh", "-c", script)
    work = WipeWork(target=target, methods=(WipeMethod.HOME_DIRECTORY_PURGE,))
    return wiper.wipe(platform.command(platform.order(work)))


def place(evidence: WipeEvidence, name: str) -> PlaceReport:
    return next(one for one in evidence.places if one.name == name)


@pytest.mark.root
def test_files_of_other_containers_survive_wherever_an_engine_was_told_to_keep_them(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform
) -> None:
    """By settings, by units or by the command line of one that runs; what nobody with a say names is the tenant's."""
    files = "for name in %s; do mkdir -p /data/$name; echo x > /data/$name/f; chown teller: /data/$name/f; done\n"
    script = files % " ".join((*PLACES, *HIS)) + TOLD
    evidence = wiped(root_wiper, machine_platform, machine, "teller", script)
    left = machine.run("find", "/data", "-name", "f", "-printf", "%h\n").split()
    undo = (
        "rm -r /etc/containerd /etc/containers /usr/share/containers /etc/buildkit /etc/default/docker /etc/docker /data"
        " /etc/systemd/system/containerd.service.d /usr/lib/systemd/system/docker.service; kill $(cat /run/programs/pids)"
    )
    machine.run("sh", "-c", undo)
    assert sorted(left) == sorted(f"/data/{name}" for name in PLACES), place(evidence, "elsewhere")
    containers = place(evidence, "containers")
    assert containers.state == "not_examined"
    for named in ("/data/buildkit-root", "/data/buildkit-running", "/data/podman-running", "containerd:"):
        assert named in (containers.reason or ""), containers


@pytest.mark.root
@pytest.mark.parametrize(
    ("user", "path", "text"),
    [
        ("broken", "/etc/containerd/config.toml", "root ="),
        ("odd", "/usr/share/containers/storage.conf", "nothing"),
        (
            "unknown",
            "/etc/systemd/system/docker.service",
            "[Service]\nExecStart=/usr/bin/dockerd --data-root=%S/docker",
        ),
        ("common", "/etc/systemd/system/podman.service", "[Service]\nExecStart=/usr/bin/podman --root=/var/lib"),
    ],
)
def test_where_settings_cannot_be_understood_nothing_is_erased(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform, user: str, path: str, text: str
) -> None:
    """Nobody knows then what is the tenant's, and nothing is called clean."""
    script = f"""
set -e
mkdir -p "$(dirname {path})" /data
printf '{text.replace("%", "%%")}' > {path}
echo x > /data/f
chown {user}: /data/f
"""
    evidence = wiped(root_wiper, machine_platform, machine, user, script)
    machine.run("rm", path, "/data/f")
    assert place(evidence, "elsewhere").state == "not_examined"
    assert evidence.methods[0].status is WipeStatus.PARTIAL


@pytest.mark.root
def test_files_of_other_containers_survive_where_the_storage_was_moved(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform
) -> None:
    """A user id in a container means nobody outside of it; and what was not looked at is told."""
    target = root_wiper.grant(machine_platform.grant("moved"))
    script = """
set -e
mkdir -p /etc/docker /data/docker/volumes/others
echo '{"data-root": "/data/docker"}' > /etc/docker/daemon.json
echo precious > /data/docker/volumes/others/file
chown -R moved: /data/docker/volumes/others
"""
    machine.run("sh", "-c", script)
    work = WipeWork(target=target, methods=(WipeMethod.HOME_DIRECTORY_PURGE,))
    evidence = root_wiper.wipe(machine_platform.command(machine_platform.order(work)))
    assert machine.run("cat", "/data/docker/volumes/others/file") == "precious\n"
    containers = next(one for one in evidence.places if one.name == "containers")
    assert containers.state == "not_examined", containers
    assert evidence.methods[0].status is WipeStatus.PARTIAL


@pytest.mark.root
def test_files_of_other_containers_survive_where_the_storage_is_a_link(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform
) -> None:
    """To a larger disk, as is usual."""
    target = root_wiper.grant(machine_platform.grant("linked"))
    script = "rm -f /etc/docker/daemon.json; mkdir -p /disk/d; echo precious > /disk/d/f; chown linked: /disk/d/f"
    machine.run("sh", "-c", f"{script}; ln -s /disk/d /var/lib/rancher")
    work = WipeWork(target=target, methods=(WipeMethod.HOME_DIRECTORY_PURGE,))
    root_wiper.wipe(machine_platform.command(machine_platform.order(work)))
    assert machine.run("cat", "/disk/d/f") == "precious\n"
    machine.run("rm", "/var/lib/rancher")


@pytest.mark.root
def test_a_storage_that_is_everybodys_hides_nothing(
    machine: Machine, root_wiper: Wiper, machine_platform: Platform
) -> None:
    """Whoever had root for a while may say that /tmp is Docker's: then nothing is called clean."""
    target = root_wiper.grant(machine_platform.grant("hider"))
    machine.run("sh", "-c", """mkdir -p /etc/docker; echo '{"data-root": "/tmp"}' > /etc/docker/daemon.json""")
    machine.run("sh", "-c", "echo x > /tmp/his; chown hider: /tmp/his")
    work = WipeWork(target=target, methods=(WipeMethod.HOME_DIRECTORY_PURGE,))
    evidence = root_wiper.wipe(machine_platform.command(machine_platform.order(work)))
    assert evidence.methods[0].status is WipeStatus.PARTIAL
    assert next(one for one in evidence.places if one.name == "elsewhere").state == "not_examined"
