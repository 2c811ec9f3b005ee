"""`rackproof bandwidth-server`: options to a running server."""

import ipaddress
import os
from pathlib import Path

from collector.bandwidth.server import own_key, tls_of
from collector.bandwidth.server import serve as run
from collector.bandwidth.worker import Rules
from collector.cli.verifying import keys_in
from shared import logs
from shared.codes import Code, Trouble


def shown_key(key_file: Path) -> str:
    """Return the server's public key in hex; the key is made where there is none."""
    return own_key(key_file).public_key().public_bytes_raw().hex()


def serve(
    *,
    key_file: Path,
    listen: str,
    origins: tuple[str, ...],
    link_gbps: float | None,
    collector_key: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    plain_http: bool,
    workers: int | None,
) -> None:
    """
    Run the server that these options describe.

    Raises:
        Trouble: `bad_configuration`, or what the server cannot start for.
    """
    if link_gbps is None or collector_key is None:
        raise Trouble(Code.BAD_CONFIGURATION, "--link-gbps and --collector-key are needed")
    if (tls_cert is None) != (tls_key is None):
        raise Trouble(Code.BAD_CONFIGURATION, "--tls-cert and --tls-key belong together")
    host, port = address(listen)
    if tls_cert is None and not plain_http and not loopback(host):
        words = f"without --tls-cert, {listen} would show slots' tokens to everybody on the way"
        raise Trouble(Code.BAD_CONFIGURATION, words, "give a certificate, or --plain-http")
    tls = tls_of(tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    keys = keys_in(collector_key)
    if len(keys) != 1:
        raise Trouble(Code.BAD_CONFIGURATION, "--collector-key: one key is wanted")
    logs.configure()
    rules = Rules(
        listen=(host, port),
        origins=origins or (f"{'https' if tls else 'http'}://{listen}",),
        capacity_bit_s=round(link_gbps * 1e9),
        collector_key=keys[0],
    )
    run(rules, key_file, tls, workers or os.cpu_count() or 1)


def address(listen: str) -> tuple[str, int]:
    """
    Return host and port of "HOST:PORT", brackets of IPv6 removed.

    Raises:
        Trouble: `bad_configuration`.
    """
    host, _, port = listen.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
        raise Trouble(Code.BAD_CONFIGURATION, f"--listen {listen!r}: HOST:PORT is wanted")
    return host.strip("[]"), int(port)


def loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
