"""The agent's SQLite file: what must outlive the process. Opened here, spoken to by `outbox` and `journal`."""

import contextlib
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import structlog

from shared.codes import Code, Trouble

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sample (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, boot_id TEXT NOT NULL, collected_at TEXT NOT NULL,
    since_boot_s REAL NOT NULL, indicators BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS command (
    command_id TEXT PRIMARY KEY, order_sha256 TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
    envelope BLOB NOT NULL, state TEXT NOT NULL CHECK (state IN ('accepted', 'running', 'answered', 'settled')),
    attempts INTEGER NOT NULL DEFAULT 0, answer BLOB
);
"""
BUSY_MS = 5_000
BALLAST_BYTES = 16 * 2**20
"""Held back on the disk: a tenant who fills it must not keep the agent from writing down orders and answers."""
SCARCE_BYTES = 2 * 2**20
"""Free space at which the ballast is given up; more than one transaction needs."""


log = structlog.get_logger()


class Database:
    """
    One connection to the agent's file, for one process at a time.

    Every commit is flushed (`synchronous=FULL`): a sequence number or an answer that was sent must not be forgotten by
    a power cut. At one commit in 15 s that costs nothing.
    """

    def __init__(self, path: Path) -> None:
        """
        Open or make the file and take its lock.

        Raises:
            Trouble: `already_running`, `state_unwritable` or `state_corrupt`.
        """
        self.path = path
        self._lock = _locked(path.with_suffix(".lock"))
        self._ballast = path.with_name("ballast")
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(SCHEMA)
        except sqlite3.Error as error:
            os.close(self._lock)
            raise explain(path, error) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """
        Open a transaction; what is in it is on the disk when this returns.

        Raises:
            Trouble: `state_unwritable` or `state_corrupt`; nothing of the transaction is kept.
        """
        self.mind_space()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            raise explain(self.path, error) from error

    def mind_space(self) -> None:
        """Give up the ballast when the disk is full, and take it back when there is plenty of room."""
        try:
            room = shutil.disk_usage(self.path.parent).free
            held = self._ballast.exists()
            if held and room < SCARCE_BYTES:
                self._ballast.unlink(missing_ok=True)
            elif not held and room > 8 * BALLAST_BYTES:
                self._take_ballast()
        except OSError as error:
            # It is best effort: whether the disk can be written is for the transaction to find out.
            log.debug("ballast.failed", error=error.strerror)

    def _take_ballast(self) -> None:
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
        except OSError:
            self._ballast.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file and give the lock back."""
        self._connection.close()
        os.close(self._lock)


def explain(path: Path, error: sqlite3.Error) -> Trouble:
    """Turn what SQLite says into a code and one line."""
    words = str(error)
    if isinstance(error, sqlite3.OperationalError):
        return Trouble(Code.STATE_UNWRITABLE, f"{path}: {words}", "free space, or make the directory writable")
    remedy = f"move {path} away; reports not yet delivered are in it"
    return Trouble(Code.STATE_CORRUPT, f"{path}: {words}", remedy)


def _locked(path: Path) -> int:
    """Take the lock that says which process owns the state; the kernel drops it however that process ends."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Trouble(Code.STATE_UNWRITABLE, f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Trouble(Code.ALREADY_RUNNING, f"another agent uses {path.parent}") from error
    return descriptor
