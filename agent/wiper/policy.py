"""The provider's policy on this machine: it can only narrow what an order may do."""

import hashlib
import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from shared.codes import Code, Trouble
from shared.documents import PRIVILEGED_KINDS

UID_MIN, UID_MAX = 1000, 60000
"""Ordinary users' ids; a policy can narrow the range. Source: login.defs(5), UID_MIN and UID_MAX."""

NOBODY = 65534
"""The overflow uid. Source: Linux, Documentation/admin-guide/sysctl/kernel.rst, overflowuid."""

ALWAYS_PROTECTED = frozenset({"root", "nobody", "rackproof"})

NEVER_HOME_ROOTS = frozenset(
    {"/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr"}  # noqa: S108
    | {"/var", "/var/lib", "/var/log", "/var/spool", "/var/tmp", "/opt", "/srv", "/mnt", "/media"}  # noqa: S108
)
"""Directories whose children are the system's; a policy that names one is an error."""


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What this machine's provider allows.

    Args:
        kinds: Command kinds that are carried out.
        home_roots: Directories whose direct children may be tenants' homes; new homes are made in the first.
        uid_min: Lowest user id of a tenant, at least 1000.
        uid_max: Highest user id of a tenant, at most 60000.
        protected: Account names never touched, besides root, nobody and our own.
        wipes_per_day: Wipes taken within 24 hours.
        dry_run: Refuse every wipe, and to cut access, to try the rest out.
        overwrite: "auto": files on spinning disks are overwritten where that reaches the medium; "never".
        fill_gpu_memory: Fill the free memory of GPUs that nobody uses with a constant, at the end of a wipe.
    """

    kinds: tuple[str, ...] = tuple(sorted(PRIVILEGED_KINDS))
    home_roots: Annotated[tuple[str, ...], Meta(min_length=1)] = ("/home",)
    uid_min: Annotated[int, Meta(ge=UID_MIN, le=UID_MAX)] = UID_MIN
    uid_max: Annotated[int, Meta(ge=UID_MIN, le=UID_MAX)] = UID_MAX
    protected: tuple[str, ...] = ()
    wipes_per_day: Annotated[int, Meta(ge=0)] = 100
    dry_run: bool = False
    overwrite: Literal["auto", "never"] = "auto"
    fill_gpu_memory: bool = False

    @property
    def sha256(self) -> str:
        """The digest of what is in force, defaults included."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def protects(self, name: str, uid: int) -> bool:
        """Return whether an account is out of reach, whatever an order says."""
        return (
            name in ALWAYS_PROTECTED
            or name in self.protected
            or uid in {0, NOBODY}
            or not self.uid_min <= uid <= self.uid_max
        )


def read(text: str) -> Policy:
    """
    Read a policy; an empty text is the default one.

    Raises:
        Trouble: `bad_configuration`: not TOML, an unknown key, a value out of range, a home root that is the system's.
    """
    try:
        policy = msgspec.convert(tomllib.loads(text), Policy)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Trouble(Code.BAD_CONFIGURATION, f"policy: {error}") from error
    for root in policy.home_roots:
        if root in NEVER_HOME_ROOTS or not root.startswith("/") or os.path.normpath(root) != root:
            raise Trouble(Code.BAD_CONFIGURATION, f"policy: {root!r} cannot be a home root")
    strangers = sorted(set(policy.kinds) - PRIVILEGED_KINDS)
    if strangers:
        raise Trouble(Code.BAD_CONFIGURATION, f"policy: unknown kind {strangers[0]!r}")
    return policy


def load(path: Path | None) -> Policy:
    """
    Read the policy file; without one the defaults are in force.

    Raises:
        Trouble: `bad_configuration`: somebody other than root (or than us, without root) could have written it.
    """
    if path is None:
        return Policy()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Policy()
    except OSError as error:
        raise Trouble(Code.BAD_CONFIGURATION, f"{path}: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid not in {0, os.geteuid()} or facts.st_mode & 0o022:
            raise Trouble(Code.BAD_CONFIGURATION, f"{path} must be a file that only root can write")
        raw = file.read()
    try:
        return read(raw.decode())
    except UnicodeDecodeError as error:
        raise Trouble(Code.BAD_CONFIGURATION, f"{path} is not UTF-8") from error
