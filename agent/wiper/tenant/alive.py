"""Which live processes are a tenant's: by all ids of every thread, by login and control group, never by name.

Source: credentials(7); proc(5) for the fields of status; pam_loginuid(8); systemd.slice(5) for user-UID.slice.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from agent.wiper.system.ground import Ground
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.tenant.groups import own_group


class Whose(NamedTuple):
    """
    What makes a process the tenant's.

    `gid`: his group, where it is his alone; `above`: our own process and those that started it, which only their user
    ids can make his: somebody may have started us from his session.
    """

    uid: int
    owns: Callable[[int], bool]
    gid: int | None
    above: frozenset[int]


def whose(ground: Ground, tenant: Tenant) -> Whose:
    """Return what makes a process this tenant's."""
    return Whose(tenant.uid, tenant.owns, own_group(ground, tenant), _ancestors())


class Thread(NamedTuple):
    """The four user ids, and the four group ids with the supplementary ones."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]


def live(whose: Whose) -> set[int]:
    """Return the processes of the tenant's that have a living thread; never our own or the first one."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in {1, os.getpid()} and is_live(int(entry.name), whose):
            found.add(int(entry.name))
    return found


def uids_of(pids: set[int], whose: Whose) -> set[int]:
    """Return the tenant's own user ids, subordinate ones too, that these processes have."""
    return {uid for pid in pids for thread in _living(pid) for uid in thread.uids if whose.owns(uid)}


def is_live(pid: int, whose: Whose) -> bool:
    """Threads are looked at one by one: a leader that has ended looks dead while its threads run on."""
    threads = list(_living(pid))
    if any(whose.owns(uid) for thread in threads for uid in thread.uids):
        return True
    if not threads or pid in whose.above:
        return False
    if whose.gid is not None and any(whose.gid in thread.gids for thread in threads):
        return True
    return says(pid, "loginuid") == b"%d" % whose.uid or _is_in_slice(says(pid, "cgroup"), whose.uid)


def _is_in_slice(groups: bytes, uid: int) -> bool:
    return any(b"/user-%d.slice" % uid in line for line in groups.split(b"\n"))


def says(pid: int, name: str) -> bytes:
    """Return a file of a process's; nothing where it has ended, or the kernel has no such file."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def user_of(pid: int) -> tuple[int, int] | None:
    """Return the user and group of a process that has each of them four times; None of any other."""
    fields = dict(line.split(b":\t", 1) for line in says(pid, "status").split(b"\n") if b":\t" in line)
    ids = [set(fields.get(name, b"").split()) for name in (b"Uid", b"Gid")]
    return None if any(len(one) != 1 for one in ids) else (int(ids[0].pop()), int(ids[1].pop()))


def _ancestors() -> frozenset[int]:
    found = {os.getpid()}
    pid = os.getppid()
    while pid > 1 and pid not in found:
        found.add(pid)
        # The name in the second field is the program's choice and may hold anything; the last ")" ends it.
        fields = says(pid, "stat").rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return frozenset(found)


def _living(pid: int) -> Iterator[Thread]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return
    for thread in threads:
        try:
            raw = (thread / "status").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # Bytes, split at newlines only: a tenant chooses the Name line and may put other line ends into it.
        fields = dict(line.split(b":\t", 1) for line in raw.split(b"\n") if b":\t" in line)
        if fields[b"State"][:1] not in {b"Z", b"X"}:
            gids = b" ".join((fields[b"Gid"], fields.get(b"Groups", b"")))
            yield Thread(tuple(map(int, fields[b"Uid"].split())), tuple(map(int, gids.split())))
