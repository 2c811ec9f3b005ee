"""Groups: which make root, and whether what bears the tenant's own is his alone."""

from agent.wiper.system.ground import Ground
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.tenant.inspection import accounts_of

POWERFUL = frozenset(
    {"root", "sudo", "wheel", "admin", "docker", "podman", "lxd", "incus", "disk", "shadow", "kmem", "libvirt"}
)
"""Groups whose members can become root. Source: Debian wiki, SystemGroups; each project's own warning."""


def groups_of(text: str, name: str) -> dict[str, str]:
    """Return the groups of a group file that name an account as a member, with their ids. Source: group(5)."""
    rows = (row.split(":") for row in text.splitlines())
    return {row[0]: row[2] for row in rows if len(row) == 4 and name in row[3].split(",")}


def own_group(ground: Ground, tenant: Tenant) -> int | None:
    """
    Return the id of the tenant's group; None where it is another account's first one too, or has other members.

    Raises:
        Trouble: `account_mismatch`: the password file cannot be read or understood.
        OSError: the group file cannot be read.
    """
    gid = tenant.gid
    rows = (row.split(":") for row in ground.read("/etc/group").splitlines())
    members = {one for row in rows if len(row) == 4 and row[2] == str(gid) for one in row[3].split(",")}
    first = {one.name for one in accounts_of(ground) if one.gid == gid}
    return None if gid == 0 or (members | first) - {"", tenant.name} else gid
