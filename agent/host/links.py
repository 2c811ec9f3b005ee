"""Network links with hardware (or a hypervisor) behind them: not containers' ends, bridges, or tunnels."""

from agent.host import Host, has_link, names_or_nothing, number_or_none, text_or_none

_VIRTUAL = (
    "veth",
    "docker",
    "br-",
    "virbr",
    "tap",
    "tun",
    "wg",
    "ifb",
    "dummy",
    "cali",
    "flannel",
    "cni",
    "kube",
    "lxc",
)

_NET = "/sys/class/net"


def link_names(host: Host) -> tuple[str, ...]:
    """
    Return the names of the physical links.

    Inside a container there are none; then those that are up and not known to be inner ones stand for them.
    """
    names = names_or_nothing(host, _NET)
    physical = tuple(name for name in names if has_link(host, f"{_NET}/{name}/device"))
    outer = (name for name in names if name != "lo" and not name.startswith(_VIRTUAL))
    return physical or tuple(name for name in outer if is_up(host, name))


def is_up(host: Host, name: str) -> bool:
    """Return whether a link works. Source: Linux, Documentation/ABI/testing/sysfs-class-net, operstate."""
    return text_or_none(host, f"{_NET}/{name}/operstate") == "up"


def speed_mbit_s(host: Host, name: str) -> int | None:
    """Return a link's speed; None where it is down or, like many virtual ones, does not tell (-1)."""
    speed = number_or_none(host, f"{_NET}/{name}/speed")
    return speed if speed is not None and speed > 0 else None


def carrier_changes(host: Host, name: str) -> int | None:
    """Return how often a link's carrier came or went. Source: Linux, Documentation/ABI/testing/sysfs-class-net."""
    return number_or_none(host, f"{_NET}/{name}/carrier_changes")


def bonds(host: Host) -> dict[str, tuple[str, ...]]:
    """Return the links that each bond is made of. Source: Linux, Documentation/networking/bonding.rst, slaves."""
    names = names_or_nothing(host, _NET)
    members = ((name, text_or_none(host, f"{_NET}/{name}/bonding/slaves")) for name in names)
    return {
        name: tuple(link for link in links.split() if link in names) for name, links in members if links is not None
    }
