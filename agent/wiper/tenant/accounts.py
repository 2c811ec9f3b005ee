"""Who a tenant is on this machine, by its own record, and whether an order may touch him. Pure."""

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from agent.wiper.gpu.gpus import GpuRecord
from agent.wiper.policy import NOBODY, Policy
from shared.codes import Code, Trouble
from shared.documents import Target
from shared.records import Moment

NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
"""Source: useradd(8), CAVEATS."""

MAX_ROW_BYTES = 4096


class Account(Struct, frozen=True):
    """One row of the password file."""

    name: str
    uid: int
    gid: int
    home: str


class IdRange(Struct, frozen=True):
    """Subordinate user ids of one account. Source: subuid(5). `owner`: a name or a number, as written."""

    owner: str
    first: int
    count: int

    def overlaps(self, other: "IdRange") -> bool:
        """Return whether an id is in both."""
        return self.first < other.first + other.count and other.first < self.first + self.count


class Tenant(Struct, frozen=True, kw_only=True):
    """
    The machine's own record of an account made for a tenant; it outlives the account, so that no uid is given twice.

    `generation`: 128 random bits, hex; later orders must name it. `ready`: the account was made completely.
    `key_files_before`: other people's files that held one of his keys before he came; his keys stay in them.
    `canaries`: how many files of known content he was given, see `agent.wiper.files.canaries`. `baseline`: the digest
    of what only root writes, as it was then, see `agent.wiper.root.baseline`. `gpus`: as they were before he came; None
    where they could not be read.
    """

    name: str
    uid: int
    gid: int | None = None
    home: str
    generation: str
    booking_id: str | None
    command_id: str
    granted_at: Moment
    key_blobs: tuple[str, ...] = ()
    key_files_before: tuple[str, ...] = ()
    subordinate: tuple[IdRange, ...] = ()
    canaries: int = 0
    baseline: str | None = None
    gpus: tuple[GpuRecord, ...] | None = None
    ready: bool = False

    @property
    def quarantine(self) -> str:
        """The home's name while it is emptied; the same for every order about this grant of the account."""
        digest = hashlib.sha256(f"{self.name} {self.uid} {self.generation}".encode()).hexdigest()
        return f".rackproof-wipe-{digest[:32]}"

    def account(self) -> Account:
        """Return the row of the password file that belongs to this record."""
        return Account(self.name, self.uid, self.gid if self.gid is not None else self.uid, self.home)

    def owns(self, uid: int) -> bool:
        """Return whether a user id is the tenant's: the account's or a subordinate one."""
        return uid == self.uid or any(one.first <= uid < one.first + one.count for one in self.subordinate)


class Home(Struct, frozen=True, kw_only=True):
    """
    What stands at the home's path.

    `kind`: "missing", "directory", "mount", "link" or "other"; `owner` and `mode` of a directory; `parent_safe`: only
    root (on a simulated machine: whoever runs this) can rename what is in the directory above.
    """

    kind: str
    owner: int = -1
    mode: int = 0
    parent_safe: bool = True


class Inspected(Struct, frozen=True, kw_only=True):
    """
    What was found on the machine before anything is touched.

    `owner`: the uid that the tenant's files have; `keeper`: the uid that may take them over.
    """

    accounts: tuple[Account, ...]
    id_ranges: tuple[IdRange, ...]
    home: Home
    owner: int
    keeper: int


def read_accounts(text: str) -> tuple[Account, ...]:
    """
    Read a password file.

    Raises:
        Trouble: `account_mismatch`: a row cannot be understood, so that nobody can say whom it means.

    Source: passwd(5).
    """
    accounts = []
    for line in text.splitlines():
        if not line.strip() or line[0] in "#+-":
            continue
        fields = line.split(":")
        if len(fields) != 7 or not all(one.isascii() and one.isdigit() for one in fields[2:4]):
            raise Trouble(Code.ACCOUNT_MISMATCH, f"unreadable row in the password file: {line[:60]!r}")
        accounts.append(Account(fields[0], int(fields[2]), int(fields[3]), fields[5]))
    return tuple(accounts)


def read_id_ranges(text: str) -> tuple[IdRange, ...]:
    """
    Read a file of subordinate ids.

    Raises:
        Trouble: `account_mismatch`: a row cannot be understood.

    Source: subuid(5).
    """
    ranges = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(":")
        if len(fields) != 3 or not all(one.isascii() and one.isdigit() for one in fields[1:]):
            raise Trouble(Code.ACCOUNT_MISMATCH, f"unreadable row in the subordinate ids: {line[:60]!r}")
        ranges.append(IdRange(fields[0], int(fields[1]), int(fields[2])))
    return tuple(ranges)


def ranges_of(ranges: Iterable[IdRange], name: str, uid: int) -> tuple[IdRange, ...]:
    """Return one account's subordinate ids; a row may name it or its number."""
    return tuple(one for one in ranges if one.owner in {name, str(uid)} and one.count > 0)


def check_name(name: str, policy: Policy) -> None:
    """
    Pass if this can be a tenant's account name.

    Raises:
        Trouble: `bad_account_name` (paths, patterns, options) or `protected_account`.
    """
    if not NAME.fullmatch(name):
        raise Trouble(Code.BAD_ACCOUNT_NAME, f"{name[:40]!r} is not an account name")
    if policy.protects(name, policy.uid_min):
        raise Trouble(Code.PROTECTED_ACCOUNT, f"{name} is protected")


def check_target(
    target: Target, tenant: Tenant | None, inspect: Callable[[Tenant], Inspected], policy: Policy, *, touched: bool
) -> Tenant:
    """
    Pass if the account an order means is the tenant's of our record, and nobody else can be hurt.

    Args:
        target: What the order says.
        tenant: Our newest record under this name.
        inspect: Looks at the machine; called only for an account that has a record.
        policy: The provider's.
        touched: Whether an earlier wipe of the same generation has begun: the home may be taken over or gone then.

    Returns:
        The record, with the subordinate ids that the machine has for it now.

    Raises:
        Trouble: with the code of the first objection; nothing has been touched.
    """
    check_name(target.username, policy)
    if policy.protects(target.username, target.uid):
        raise Trouble(Code.PROTECTED_ACCOUNT, f"uid {target.uid} is not a tenant's")
    if tenant is None:
        raise Trouble(Code.UNKNOWN_ACCOUNT, f"{target.username} was not made for a tenant here")
    if target.generation != tenant.generation:
        raise Trouble(Code.STALE_ACCOUNT)
    if target.uid != tenant.uid or policy.protects(tenant.name, tenant.uid):
        raise Trouble(Code.ACCOUNT_MISMATCH, f"the order says uid {target.uid}, the record {tenant.uid}")
    inspected = inspect(tenant)
    _check_rows(tenant, inspected)
    now = with_current_ranges(tenant, inspected)
    _check_ranges(now, inspected)
    check_home_path(tenant.home, policy)
    _check_other_homes(tenant, inspected)
    _check_home(inspected, touched=touched)
    return now


def with_current_ranges(tenant: Tenant, inspected: Inspected) -> Tenant:
    """Return the record with the subordinate ids of the grant and those that the machine has now."""
    ranges = dict.fromkeys((*tenant.subordinate, *ranges_of(inspected.id_ranges, tenant.name, tenant.uid)))
    return replace(tenant, subordinate=tuple(ranges))


def _check_rows(tenant: Tenant, inspected: Inspected) -> None:
    named = [one for one in inspected.accounts if one.name == tenant.name]
    sharing = [one.name for one in inspected.accounts if one.uid == tenant.uid and one.name != tenant.name]
    if sharing:
        raise Trouble(Code.SHARED_UID, f"uid {tenant.uid} is also {sharing[0]}'s")
    if len(named) > 1:
        raise Trouble(Code.ACCOUNT_MISMATCH, f"{tenant.name} stands twice in the password file")
    for row in named:
        if (row.uid, row.home) != (tenant.uid, tenant.home) or tenant.gid not in {None, row.gid}:
            raise Trouble(Code.ACCOUNT_MISMATCH, f"the password file has another uid, gid or home for {tenant.name}")


def _check_ranges(tenant: Tenant, inspected: Inspected) -> None:
    """Refuse subordinate ids that are anybody else's: what they own would be taken for the tenant's."""
    for mine in tenant.subordinate:
        if mine.first <= NOBODY < mine.first + mine.count or mine.first <= 0:
            raise Trouble(Code.SHARED_UID, "the tenant's subordinate ids hold a system id")
        for account in inspected.accounts:
            if account.name != tenant.name and mine.first <= account.uid < mine.first + mine.count:
                raise Trouble(Code.SHARED_UID, f"the tenant's subordinate ids hold {account.name}'s uid")
        for other in inspected.id_ranges:
            if other.owner not in {tenant.name, str(tenant.uid)} and mine.overlaps(other):
                raise Trouble(Code.SHARED_UID, f"the tenant's subordinate ids overlap those of {other.owner}")


def check_home_path(home: str, policy: Policy) -> None:
    """
    Pass if a path is a direct child of a home root, in its plain form.

    Raises:
        Trouble: `unsafe_home`.
    """
    parent, _, name = home.rpartition("/")
    if posixpath.normpath(home) != home or home.startswith("//") or "\0" in home or name in {"", ".", ".."}:
        raise Trouble(Code.UNSAFE_HOME, "the home's path is not in its plain form")
    if parent not in policy.home_roots or home in policy.home_roots:
        raise Trouble(Code.UNSAFE_HOME, "the home is not directly in a home root")


def _check_other_homes(tenant: Tenant, inspected: Inspected) -> None:
    for other in inspected.accounts:
        theirs = posixpath.normpath(other.home) if other.home else ""
        if other.name != tenant.name and (theirs == tenant.home or theirs.startswith(tenant.home + "/")):
            raise Trouble(Code.UNSAFE_HOME, f"it is or holds the home of {other.name}")


def _check_home(inspected: Inspected, *, touched: bool) -> None:
    home = inspected.home
    if not home.parent_safe:
        raise Trouble(Code.UNSAFE_HOME, "others than root can rename what is in the directory above the home")
    if home.kind == "missing":
        return
    if home.kind != "directory":
        words = {"mount": "a mount point", "link": "a symbolic link"}.get(home.kind, "not a directory")
        raise Trouble(Code.UNSAFE_HOME, f"the home is {words}")
    taken_over = touched and home.owner == inspected.keeper and home.mode == 0o700
    if home.owner != inspected.owner and not taken_over:
        raise Trouble(Code.UNSAFE_HOME, f"the home belongs to uid {home.owner}")


def free_uid(policy: Policy, accounts: Iterable[Account], used: Iterable[int], ranges: Iterable[IdRange]) -> int:
    """
    Return the user id for a new account: above every one that is or ever was in use, so that none comes twice.

    Raises:
        Trouble: `account_failed`: the range is used up.
    """
    taken = {one.uid for one in accounts} | set(used)
    highest = max((uid for uid in taken if policy.uid_min <= uid <= policy.uid_max), default=policy.uid_min - 1)
    blocks = tuple(ranges)
    for uid in range(highest + 1, policy.uid_max + 1):
        if not any(one.first <= uid < one.first + one.count for one in blocks):
            return uid
    raise Trouble(Code.ACCOUNT_FAILED, f"no free user id up to {policy.uid_max}")
