"""The measuring server as a whole: a parent that keeps several workers running, and passes the end on to them."""

import errno
import fcntl
import multiprocessing
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collector.bandwidth.register import Register
from collector.bandwidth.worker import Rules, Worker
from collector.keyring import key_at
from shared.codes import Code, Trouble

STOP_S = 3.0
"""How long a worker may take to stop before it is killed."""
PAUSE_S = 1.0
"""Before a worker that ended by itself is started again."""

log = structlog.get_logger()
_fork = multiprocessing.get_context("fork")


def own_key(path: Path) -> Ed25519PrivateKey:
    """
    Read the server's key, making one on the first start.

    Raises:
        Trouble: `state_unwritable` or `state_corrupt`.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return key_at(path)
    except OSError as error:
        raise Trouble(Code.STATE_UNWRITABLE, f"{path}: {error.strerror or error}") from error


def tls_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """
    Return the server's side of TLS.

    Raises:
        Trouble: `bad_configuration`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Nobody resumes a session here, and a ticket left unread would turn the end of a stream up into a reset.
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Trouble(Code.BAD_CONFIGURATION, f"{certificate}, {key}: {error}") from error
    return context


def serve(rules: Rules, key_file: Path, tls: ssl.SSLContext | None, workers: int) -> None:
    """
    Run until SIGTERM or SIGINT.

    Args:
        rules: What holds for every worker.
        key_file: The server's own key; the register of tickets lies beside it.
        tls: None for plain HTTP.
        workers: How many processes.

    Raises:
        Trouble: `port_in_use`, `already_running`, `state_unwritable`, `state_corrupt` or `bad_configuration`.
    """
    key, path = own_key(key_file), key_file.with_suffix(".db")
    stop = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stop.set())

    def work() -> None:
        Worker(rules, Register(path), key, tls).run()

    with _alone(key_file):
        _reserve(rules)
        register = Register(path)
        register.clear()
        register.close()
        running = [_started(work) for _ in range(workers)]
        log.info("bandwidth.ready", listen=rules.listen, origins=rules.origins, tls=tls is not None, workers=workers)
        try:
            while not stop.wait(0.2):
                running = [one if one.is_alive() else _again(one, work) for one in running]
        finally:
            _end(running)
    log.info("bandwidth.stopped")


def _started(work: Callable[[], None]) -> BaseProcess:
    process = _fork.Process(target=work)
    process.start()
    return process


def _again(ended: BaseProcess, work: Callable[[], None]) -> BaseProcess:
    log.error("worker.ended", pid=ended.pid, exit_code=ended.exitcode)
    time.sleep(PAUSE_S)
    return _started(work)


def _end(running: list[BaseProcess]) -> None:
    for one in running:
        one.terminate()
    ends_s = time.monotonic() + STOP_S
    for one in running:
        one.join(max(0.0, ends_s - time.monotonic()))
        if one.is_alive():
            log.error("worker.killed", pid=one.pid)
            one.kill()
            one.join()


@contextmanager
def _alone(key_file: Path) -> Iterator[None]:
    """Hold the key against a second server, which the kernel would let share the port."""
    with key_file.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Trouble(Code.ALREADY_RUNNING, f"another server uses {key_file}") from error
        yield


def _reserve(rules: Rules) -> None:
    """See that nobody else listens on the address; workers share it, so they would not notice."""
    with socket.socket(rules.family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(rules.listen)
        except OSError as error:
            words = f"{rules.listen[0]}:{rules.listen[1]}: {error.strerror}"
            code = Code.PORT_IN_USE if error.errno == errno.EADDRINUSE else Code.BAD_CONFIGURATION
            raise Trouble(code, words) from error
