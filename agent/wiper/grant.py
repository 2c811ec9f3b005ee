"""
Making an account for a tenant: the record first, then the account by the system's own tool, the home, the keys.

Each part can be cut off and done again: nobody can use the account before the last one.
"""

import os
import pwd
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog
from msgspec.structs import replace

from agent.wiper.files import canaries
from agent.wiper.gpu import nvml
from agent.wiper.history import History
from agent.wiper.journal import Journal, TenantRecorded
from agent.wiper.policy import Policy
from agent.wiper.root import baseline
from agent.wiper.system.ground import Ground
from agent.wiper.system.kernel import open_beneath
from agent.wiper.system.lines import changed
from agent.wiper.system.tools import run
from agent.wiper.tenant import sshd
from agent.wiper.tenant.accounts import Account, Tenant, check_name, free_uid, ranges_of
from agent.wiper.tenant.inspection import PASSWD, accounts_of, id_ranges_of, look_at_home
from agent.wiper.tenant.publickeys import bodies
from shared.codes import Code, Trouble
from shared.documents import GrantOutcome, GrantWork, Order, Target

log = structlog.get_logger()

SHELL = "/bin/bash"
TOOL_DEADLINE_S = 60
LOCKED_ELSEWHERE = 1
"""useradd's exit code when another process holds the account files. Source: useradd(8), EXIT VALUES."""
LOCK_PATIENCE_S = 20.0
LOCK_PAUSE_S = 0.25
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def prepare(order: Order, history: History, policy: Policy, ground: Ground, now: datetime) -> Tenant:
    """
    Return the record of the account to be made; nothing is touched.

    Raises:
        Trouble: `bad_account_name`, `protected_account`, `account_exists`, `unsafe_home`, `account_failed`, or for a
            key `invalid`.
    """
    work = order.work
    assert isinstance(work, GrantWork)
    check_name(work.username, policy)
    keys = bodies(work.ssh_keys)
    accounts = accounts_of(ground)
    if any(one.name == work.username for one in accounts) or (not ground.simulated and _known_by_name(work.username)):
        raise Trouble(Code.ACCOUNT_EXISTS, f"{work.username} exists already")
    home = f"{policy.home_roots[0]}/{work.username}"
    if ground.simulated:
        ground.make_directory(policy.home_roots[0])
    stands = look_at_home(ground, home)
    if stands.kind != "missing" or not stands.parent_safe:
        raise Trouble(Code.UNSAFE_HOME, f"{home} exists already, or others can rename what is beside it")
    return Tenant(
        name=work.username,
        uid=_free_uid(ground, policy, accounts, history),
        home=home,
        generation=secrets.token_hex(16),
        booking_id=order.booking_id,
        command_id=order.command_id,
        granted_at=now,
        key_blobs=(blobs := tuple(key.split(" ")[1] for key in keys)),
        key_files_before=_holding(ground, accounts, frozenset(blobs)),
    )


def carry_out(
    order: Order,
    sha256: str,
    tenant: Tenant,
    journal: Journal,
    ground: Ground,
    now: datetime,
    state_dir: Path,
    tenants: frozenset[str],
) -> GrantOutcome:
    """
    Make the account, its home and its keys, or what of them is still missing.

    Args:
        order: Verified and journalled.
        sha256: Its digest.
        tenant: Its record, journalled.
        journal: For the record's last state.
        ground: Where.
        now: The clock.
        state_dir: The wiper's own directory, for what only root writes, as it is now.
        tenants: Names of all accounts ever made for tenants here.

    Raises:
        Trouble: `account_failed`: a tool failed or something foreign stands in the way.
    """
    work = order.work
    assert isinstance(work, GrantWork)
    try:
        account = _ensure_account(tenant, ground)
        tenant = _with_before(tenant, journal, ground, now, state_dir, tenants)
        planted = _ensure_home(tenant, account, ground, bodies(work.ssh_keys))
    except OSError as error:
        raise Trouble(Code.ACCOUNT_FAILED, f"{type(error).__name__}: {error.strerror}") from error
    ranges = ranges_of(id_ranges_of(ground), tenant.name, tenant.uid)
    recorded = replace(tenant, gid=account.gid, subordinate=ranges, canaries=planted, ready=True)
    journal.append(now, TenantRecorded(tenant=recorded))
    return GrantOutcome(
        hardware_id=order.aud,
        command_id=order.command_id,
        order_sha256=sha256,
        booking_id=order.booking_id,
        target=Target(username=tenant.name, uid=tenant.uid, generation=tenant.generation),
        granted_at=now,
    )


def _with_before(
    tenant: Tenant, journal: Journal, ground: Ground, now: datetime, state_dir: Path, tenants: frozenset[str]
) -> Tenant:
    """
    Write down what only root writes and how the GPUs are, before anybody can log in as the tenant, and only then.

    A machine that cannot be looked at gets no such record, and its wipes say so: a tenant is not sent away for that.
    """
    if ground.simulated:
        return replace(tenant, gpus=())
    if tenant.baseline is not None:
        return tenant
    gpus = nvml.record()
    try:
        taken = baseline.take(ground, tenants | {tenant.name}, frozenset(tenant.key_blobs))
        baseline.keep(state_dir, tenant.generation, taken)
    except OSError as error:
        log.warning("wiper.no_baseline", error=str(error))
        return replace(tenant, gpus=gpus)
    recorded = replace(tenant, baseline=taken.sha256, gpus=gpus)
    journal.append(now, TenantRecorded(tenant=recorded))
    return recorded


def _holding(ground: Ground, accounts: tuple[Account, ...], blobs: frozenset[str]) -> tuple[str, ...]:
    """Return the key files that hold one of these keys already: they are somebody else's too, and stay his."""
    if ground.simulated:
        return ()
    found = []
    for file in sshd.survey(ground, accounts).files:
        try:
            if changed(sshd.read(file), sshd.without(blobs))[1]:
                found.append(file.path)
        except OSError as error:
            log.warning("wiper.key_file_unread", uid=file.uid, error=error.strerror)
    return tuple(found)


def _free_uid(ground: Ground, policy: Policy, accounts: tuple[Account, ...], history: History) -> int:
    used = set(history.used_uids)
    while True:
        uid = free_uid(policy, accounts, used, id_ranges_of(ground))
        if ground.simulated or not _known_by_uid(uid):
            return uid
        used.add(uid)


def _known_by_name(name: str) -> bool:
    """Return whether any of the machine's name services, directories on the network included, has this account."""
    return _found(lambda: pwd.getpwnam(name))


def _known_by_uid(uid: int) -> bool:
    return _found(lambda: pwd.getpwuid(uid))


def _found(look: Callable[[], object]) -> bool:
    try:
        look()
    except KeyError:
        return False
    return True


def _ensure_account(tenant: Tenant, ground: Ground) -> Account:
    """Return the account's row, making it where there is none; a useradd of a run that was cut off may still work."""
    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        for row in accounts_of(ground):
            if row.name == tenant.name:
                return _ours(row, tenant)
        failure = _add(tenant, ground)
        if failure is not None and time.monotonic() > until:
            raise Trouble(Code.ACCOUNT_FAILED, failure)
        if failure is not None:
            time.sleep(LOCK_PAUSE_S)


def _ours(row: Account, tenant: Tenant) -> Account:
    if (row.uid, row.home) != (tenant.uid, tenant.home):
        raise Trouble(Code.ACCOUNT_FAILED, f"somebody else made {tenant.name} meanwhile")
    return row


def _add(tenant: Tenant, ground: Ground) -> str | None:
    """
    Make the account's row; return why another process is in the way, or None.

    Raises:
        Trouble: `account_failed`.
    """
    if ground.simulated:
        row = f"{tenant.name}:x:{tenant.uid}:{tenant.uid}::{tenant.home}:{SHELL}"
        ground.append_line(PASSWD, row)
        return None
    # "*" is no password's hash, and unlike "!" it does not make sshd take the account for a locked one.
    options = ["--create-home", "--home-dir", tenant.home, "--shell", SHELL, "--user-group", "--password", "*"]
    try:
        done = run("useradd", *options, "--uid", str(tenant.uid), "--", tenant.name, deadline_s=TOOL_DEADLINE_S)
    except OSError as error:
        raise Trouble(Code.ACCOUNT_FAILED, f"useradd: {error.strerror}") from error
    if done.code == LOCKED_ELSEWHERE and "lock" in done.words:
        return f"useradd: {done.words}"
    if done.code != 0:
        raise Trouble(Code.ACCOUNT_FAILED, f"useradd ended with {done.code}: {done.words}")
    if done.words:
        log.info("wiper.useradd", said=done.words)
    return None


def _ensure_home(tenant: Tenant, account: Account, ground: Ground, keys: tuple[str, ...]) -> int:
    """
    Make the home the tenant's, plant his canaries and put the keys in; return how many canaries stand.

    Nobody can log in before the keys are there, so nobody races against this.
    """
    folder, _, name = tenant.home.rpartition("/")
    parent = ground.open_directory(folder)
    try:
        home = _own_directory(parent, name, tenant, account, ground)
    finally:
        os.close(parent)
    try:
        planted = _plant(home, canaries.NAME, tenant, account, ground) + _plant_elsewhere(tenant, account, ground)
        ssh = _own_directory(home, ".ssh", tenant, account, ground)
        try:
            _write_keys(ssh, tenant, account, ground, keys)
        finally:
            os.close(ssh)
    finally:
        os.close(home)
    return planted


def _plant_elsewhere(tenant: Tenant, account: Account, ground: Ground) -> int:
    planted = 0
    for place in () if ground.simulated else canaries.PLACES:
        try:
            directory = ground.open_directory(place)
        except FileNotFoundError:
            continue
        try:
            planted += _plant(directory, canaries.name_of(tenant.generation), tenant, account, ground)
        finally:
            os.close(directory)
    return planted


def _plant(directory: int, name: str, tenant: Tenant, account: Account, ground: Ground) -> bool:
    """A place that is full or read-only gets no canary; a tenant is not sent away for that."""
    owner = None if ground.simulated else (tenant.uid, account.gid)
    try:
        return canaries.plant(directory, name, canaries.content_of(tenant.generation), owner)
    except OSError as error:
        log.warning("wiper.no_canary", error=error.strerror)
        return False


def _own_directory(parent: int, name: str, tenant: Tenant, account: Account, ground: Ground) -> int:
    """Open a directory that is only the tenant's, making it where it is missing."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        log.debug("wiper.directory_exists")
    fd = open_beneath(parent, name, DIRECTORY)
    owner = os.fstat(fd).st_uid
    if owner not in {os.geteuid(), ground.owner(tenant.uid)}:
        os.close(fd)
        raise Trouble(Code.ACCOUNT_FAILED, f"a directory of uid {owner} stands where the tenant's belongs")
    _give(fd, tenant, account, ground)
    os.fchmod(fd, 0o700)
    os.fsync(parent)
    return fd


def _write_keys(ssh: int, tenant: Tenant, account: Account, ground: Ground, keys: tuple[str, ...]) -> None:
    beside = f".authorized_keys.{secrets.token_hex(8)}"
    for left in os.listdir(ssh):
        if left.startswith(".authorized_keys."):  # of a run that was cut off
            os.unlink(left, dir_fd=ssh)
    fd = open_beneath(ssh, beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    with os.fdopen(fd, "wb") as file:
        file.write("".join(f"{key}\n" for key in keys).encode())
        file.flush()
        _give(fd, tenant, account, ground)
        os.fchmod(fd, 0o600)
        os.fsync(fd)
    os.rename(beside, "authorized_keys", src_dir_fd=ssh, dst_dir_fd=ssh)
    os.fsync(ssh)


def _give(fd: int, tenant: Tenant, account: Account, ground: Ground) -> None:
    if not ground.simulated:
        os.fchown(fd, tenant.uid, account.gid)
