"""Looking at an account on the machine before anything is decided; changes nothing."""

import errno
import os
import stat

from agent.wiper.system.ground import Ground
from agent.wiper.system.kernel import open_beneath
from agent.wiper.tenant.accounts import Account, Home, IdRange, Inspected, Tenant, read_accounts, read_id_ranges
from shared.codes import Code, Trouble

PASSWD, SUBUID = "/etc/passwd", "/etc/subuid"


def accounts_of(ground: Ground) -> tuple[Account, ...]:
    """
    Return the rows of the machine's password file.

    Raises:
        Trouble: `account_mismatch`: it cannot be read or understood.
    """
    return read_accounts(_read(ground, PASSWD))


def id_ranges_of(ground: Ground) -> tuple[IdRange, ...]:
    """
    Return the machine's subordinate ids.

    Raises:
        Trouble: `account_mismatch`: they cannot be read or understood.
    """
    return read_id_ranges(_read(ground, SUBUID))


def inspect(ground: Ground, tenant: Tenant) -> Inspected:
    """
    Return what stands on the machine for a tenant's record.

    Raises:
        Trouble: `account_mismatch` or `unsafe_home`: the machine cannot be looked at.
    """
    return Inspected(
        accounts=accounts_of(ground),
        id_ranges=id_ranges_of(ground),
        home=look_at_home(ground, tenant.home),
        owner=ground.owner(tenant.uid),
        keeper=os.geteuid(),
    )


def look_at_home(ground: Ground, path: str) -> Home:
    """
    Return what stands at a home's path, following no link.

    Raises:
        Trouble: `unsafe_home`: the directory above is a link or cannot be opened.
    """
    folder, _, name = path.rpartition("/")
    if not folder or name in {"", ".", ".."}:
        raise Trouble(Code.UNSAFE_HOME, "the home is no directory in a home root")
    try:
        parent = ground.open_directory(folder)
    except OSError as error:
        raise Trouble(Code.UNSAFE_HOME, f"the directory above the home: {error.strerror}") from error
    try:
        above = os.fstat(parent)
        safe = above.st_uid in {0, os.geteuid()} and not above.st_mode & 0o022
        return _look(parent, name, parent_safe=safe)
    finally:
        os.close(parent)


def _look(parent: int, name: str, *, parent_safe: bool) -> Home:
    try:
        fd = open_beneath(parent, name, os.O_PATH)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Home(kind="missing", parent_safe=parent_safe)
        kinds = {errno.EXDEV: "mount", errno.ELOOP: "link"}
        return Home(kind=kinds.get(error.errno or 0, "other"), parent_safe=parent_safe)
    try:
        facts = os.fstat(fd)
    finally:
        os.close(fd)
    if not stat.S_ISDIR(facts.st_mode):
        kind = "link" if stat.S_ISLNK(facts.st_mode) else "other"
        return Home(kind=kind, owner=facts.st_uid, parent_safe=parent_safe)
    return Home(kind="directory", owner=facts.st_uid, mode=stat.S_IMODE(facts.st_mode), parent_safe=parent_safe)


def _read(ground: Ground, path: str) -> str:
    try:
        return ground.read(path)
    except OSError as error:
        raise Trouble(Code.ACCOUNT_MISMATCH, f"{path}: {error.strerror}") from error
