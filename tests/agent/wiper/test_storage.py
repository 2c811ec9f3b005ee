"""Where engines keep their files is read from their settings, and what lies there is never taken for the tenant's."""

import pytest

from agent.wiper.storage import of_docker, of_podman
from shared.documents import WipeWork
from shared.records import WipeMethod, WipeStatus
from tests.agent.wiper.harness import Machine, Platform, Wiper


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", ()),
        ("{}", ()),
        ('{"data-root": "/data/docker/", "exec-root": "/run/d"}', ("/data/docker", "/run/d")),
        ('{"graph": "/old"}', ("/old",)),
        ('{"data-root": "relative", "graph": 5, "exec-root": "/"}', ()),
    ],
)
def test_dockers_settings_name_its_directories(text: str, paths: tuple[str, ...]) -> None:
    """Only absolute ones, and never the whole machine."""
    assert of_docker(text) == paths


def test_podmans_settings_name_its_directories() -> None:
    """From the table for storage."""
    assert of_podman('[storage]\ndriver = "overlay"\ngraphroot = "/data/c"\nrunroot = "/run/c"\n') == (
        "/data/c",
        "/run/c",
    )
    assert of_podman("[other]\n") == ()


@pytest.mark.parametrize("text", ["[", "[1]", "nothing"])
def test_settings_that_cannot_be_understood_are_an_error(text: str) -> None:
    """Nobody knows then where the files are."""
    with pytest.raises(ValueError, match=r".+"):
        of_docker(text)


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
