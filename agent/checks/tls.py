"""TLS: whether the collector's certificate can be trusted, and for how long still."""

import socket
import ssl
from datetime import UTC, datetime
from typing import Any

from agent import reaching
from agent.checks import Check, Finding, Group, Scene, advice, fine, problem, unknown
from shared.codes import Trouble

LEAST_DAYS = 7
"""Certificates are usually renewed a third of their life before the end; a week before, nobody is at it."""


def judge(where: reaching.Place, ends_at: datetime | OSError | Trouble, now: datetime, version: str = "") -> Finding:
    """
    Judge a certificate.

    Args:
        where: Whose it is.
        ends_at: When it ends, or why it is not trusted.
        now: The time.
        version: Of the protocol that was agreed on.
    """
    limit = f"trusted, for {LEAST_DAYS} days more"
    match ends_at:
        case Trouble():
            return problem("tls_authority", ends_at.detail, limit="readable", remedy="correct ca_file in the settings")
        case socket.gaierror():
            return unknown("not tried: the name has no address")
        case ssl.SSLCertVerificationError():
            remedy = "set the clock right, name a private authority by ca_file, or tell the collector's operator"
            return problem("tls_untrusted", f"{where.host}: {ends_at.verify_message}", limit=limit, remedy=remedy)
        case ssl.SSLError():
            remedy = "see that the address is the collector's, and that nothing on the way opens TLS"
            words = str(ends_at.strerror).partition(" (_ssl.c")[0]
            return problem("tls_failed", f"{where.host}: {words}", limit=limit, remedy=remedy)
        case OSError():
            return unknown("not tried: no connection")
    days = (ends_at - now).days
    value = f"{version}, certificate until {ends_at:%Y-%m-%d}"
    if days < LEAST_DAYS:
        remedy = "tell the collector's operator to renew it"
        return advice("tls_ends", value, limit=limit, remedy=remedy)
    return fine(value, limit)


def plain(where: reaching.Place) -> Finding:
    """Judge a collector without TLS."""
    if where.local:
        return unknown("plain HTTP, which does not leave this machine")
    remedy = "have the operator put TLS in front of the collector, then enroll at its https:// address"
    return advice("tls_absent", f"plain HTTP to {where.host}", limit="TLS", remedy=remedy)


def look(scene: Scene) -> Finding:
    """Shake hands and look at the certificate."""
    if not scene.origin:
        return unknown("no collector is known yet")
    where = reaching.place(scene.origin)
    if not where.encrypted:
        return plain(where)
    now = datetime.now(UTC)
    try:
        with (
            reaching.connect(where) as connection,
            reaching.trust(scene.settings.ca_file).wrap_socket(connection, server_hostname=where.host) as shaken,
        ):
            return judge(where, ends_at(shaken.getpeercert() or {}), now, shaken.version() or "")
    except (OSError, Trouble) as error:
        return judge(where, error, now)


def ends_at(certificate: dict[str, Any]) -> datetime:
    """Return when a certificate ends. Source: Python, ssl.SSLSocket.getpeercert."""
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)


CHECK = Check(
    name="tls",
    title="certificate (TLS)",
    group=Group.COLLECTOR,
    look=look,
    rank=2,
    codes={
        "tls_authority": "Without its private authority the agent trusts no collector.",
        "tls_untrusted": "The agent talks to nobody whose certificate it does not trust: the machine is offline.",
        "tls_failed": "What answers there does not speak TLS as it should, so the machine counts as offline.",
        "tls_ends": "When the certificate ends, no agent can connect any more.",
        "tls_absent": "Orders are signed all the same; but whoever is on the way can read what the machine reports.",
    },
)
