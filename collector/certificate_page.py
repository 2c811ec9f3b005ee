"""A certificate as a page to print: the fields people know from sanitization certificates, and its limits. Pure."""

import base64
import hashlib
import html
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from collector.certificates import Examined
from shared.documents import Medium, PlaceReport, WipeEvidence
from shared.envelope import key_id
from shared.records import WipeMethod, WipeStatus

STYLE = """
@page { margin: 18mm }
body { font: 10.5pt/1.45 Georgia, "Times New Roman", serif; color: #111; background: #fff }
body { max-width: 46em; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em; margin: 0 0 .2em; border-bottom: 2px solid #111 }
h2 { font-size: 1.1em; margin: 1.4em 0 .3em }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .2em .6em .2em 0; border-bottom: 1px solid #ccc }
td { overflow-wrap: anywhere }
table.fields { table-layout: fixed }
table.fields th { width: 13em; font-weight: normal; color: #444 }
p.result { border: 2px solid #111; padding: .5em .8em; font-weight: bold }
p.warning { border-left: 4px solid #111; padding: .2em .8em }
tr, li, p { break-inside: avoid }
@media print { body { margin: 0; max-width: none } }
"""
STYLE_SHA256 = "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
"""For the page's Content-Security-Policy. Source: CSP Level 3, section 2.3.1, hash-source."""

METHODS = {
    WipeMethod.SSH_KEY_REMOVAL: "SSH key removal: the tenant's keys no longer admit anybody",
    WipeMethod.HOME_DIRECTORY_PURGE: "Home directory purge: what the tenant stored or ran, anywhere on the machine",
    WipeMethod.USER_DELETION: "User deletion: the account and every trace by which it could come back",
}
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


def page(examined: Examined, *, chain_gap: bool) -> str:
    """
    Return the page as HTML: no script, no link, nothing loaded; every text in it escaped.

    Args:
        examined: The certificate, its signatures checked.
        chain_gap: Whether its place among the machine's certificates is in doubt.
    """
    evidence = examined.evidence
    heading = _heading(evidence)
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f"<title>{html.escape(heading)} {html.escape(examined.digest[:12])}</title>",
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{_text(heading)}</h1>",
            f'<p class="result">{_text(_result(evidence))}</p>',
            *(f'<p class="warning">{_text(words)}</p>' for words in _warnings(examined, chain_gap=chain_gap)),
            _section("What was sanitized", _fields(_subject(evidence))),
            _section("Methods and results", _table(("Method", "Result", "Reasons"), _methods(evidence))),
            _section("When, and with what", _fields(_circumstances(evidence))),
            _section("Places looked at", _table(PLACE_HEAD, map(_place, evidence.places))),
            _section("Verification", _fields(_verification(evidence))),
            _media(evidence.media),
            _section("Signatures", _fields(_signatures(examined))),
            _section("What this does not say", _list(evidence.limits)),
            "</body></html>\n",
        )
    )


def _heading(evidence: WipeEvidence) -> str:
    whole = {one.status for one in evidence.methods} == {WipeStatus.SUCCESS}
    what = "Certificate of data wipe" if whole else "Record of an incomplete data wipe"
    return f"{what} (simulated machine)" if evidence.simulated else what


def _result(evidence: WipeEvidence) -> str:
    statuses = {one.status for one in evidence.methods}
    if statuses == {WipeStatus.SUCCESS}:
        return "Success: everything the methods promise was removed, and a separate look at the machine found nothing."
    if WipeStatus.FAILED in statuses:
        return "Failed: the tenant may still have access, or it could not be verified. Do not rent this machine out."
    return "Partial: access is gone, but something is left, unseen or in doubt. This is not a certificate of erasure."


def _warnings(examined: Examined, *, chain_gap: bool) -> list[str]:
    words = []
    if examined.evidence.reimage_recommended:
        words.append(
            "The tenant had root. Nothing on the machine can prove it clean: installing it anew is recommended."
        )
    if chain_gap:
        words.append("The certificate before this one is missing, or another one claims its place.")
    return words


def _subject(evidence: WipeEvidence) -> list[tuple[str, str]]:
    return [
        ("Machine", evidence.hardware_id),
        ("Operating system", f"{evidence.os}, {evidence.kernel}"),
        ("Account", f"{evidence.target.username} (uid {evidence.target.uid})"),
        ("Account's generation", evidence.target.generation),
        ("Digest of the account's record", evidence.tenant_sha256 or "no record"),
        ("Booking", evidence.booking_id or "none named"),
    ]


def _methods(evidence: WipeEvidence) -> list[tuple[str, ...]]:
    return [(METHODS[one.method], one.status, "; ".join(one.reasons) or "none") for one in evidence.methods]


def _circumstances(evidence: WipeEvidence) -> list[tuple[str, str]]:
    cut_off = sum(one.ended_at is None for one in evidence.attempts)
    attempts = f"{len(evidence.attempts)}, {cut_off} of them cut off" if cut_off else str(len(evidence.attempts))
    return [
        ("Ordered by", evidence.requested_by),
        ("Order", evidence.command_id),
        ("Digest of the order", evidence.order_sha256),
        ("Begun", _time(evidence.started_at)),
        ("Ended", _time(evidence.ended_at)),
        ("Attempts", attempts),
        ("Tool", f"Rackproof wiper {evidence.agent_version}"),
        ("Digest of the provider's policy", evidence.policy_sha256),
        ("Digest of the wiper's journal", evidence.journal_sha256),
    ]


PLACE_HEAD = ("Place", "State", "Found", "Removed", "Left", "Remarks")


def _place(place: PlaceReport) -> tuple[str, ...]:
    remarks = "; ".join((*((place.reason,) if place.reason else ()), *place.notes))
    return (place.name, place.state.replace("_", " "), str(place.found), str(place.removed), str(place.left), remarks)


def _verification(evidence: WipeEvidence) -> list[tuple[str, str]]:
    scope = evidence.verification
    findings = [("Findings", "; ".join(evidence.findings) or "none")]
    if scope is None:
        return [("Files looked at", "no file systems were walked for these methods"), *findings]
    skipped = (f"{one.count} {one.what}: {one.reason}" for one in scope.skipped)
    return [
        ("How", "by separate code, after the removal, over all local file systems and kernel objects"),
        ("Files looked at", f"{scope.inodes} in {scope.file_systems} file systems"),
        ("Canaries", f"{scope.canaries_planted} planted with the account, {scope.canaries_found} found by content"),
        ("Left out", "; ".join(skipped) or "nothing"),
        *findings,
    ]


def _media(media: Sequence[Medium]) -> str:
    if not media:
        return ""
    head = ("File system", "Device", "Model", "Rotational", "Takes TRIM", "Technique", "Overwritten", "Trimmed")
    return _section("Media", _table(head, map(_medium, media)))


def _medium(one: Medium) -> tuple[str, ...]:
    trimmed = one.note or "unknown" if one.trimmed_bytes is None else f"{one.trimmed_bytes} bytes"
    return (
        f"{one.file_system}, held the home" if one.held_home else one.file_system,
        f"{one.name} ({one.device})" if one.name else f"{one.device}, no block device",
        one.model or "not told",
        _known(one.rotational),
        _known(one.discard),
        one.technique,
        f"{one.overwritten_bytes} bytes",
        trimmed,
    )


def _known(fact: bool | None) -> str:  # noqa: FBT001 - the fact itself
    return "not told" if fact is None else "yes" if fact else "no"


def _signatures(examined: Examined) -> list[tuple[str, str]]:
    evidence = examined.evidence
    return [
        ("Digest of this evidence (SHA-256)", examined.digest),
        ("Digest of the certificate before", evidence.previous_sha256 or "none: the first of this machine's wiper"),
        ("Signed by the machine's wiper", f"{key_id(examined.machine_key)}; the signature was checked"),
        ("Received by the collector", _time(examined.receipt.received_at)),
        ("Countersigned by the collector", f"{examined.collector_key_id}; {_countersigned(examined)}"),
    ]


def _countersigned(examined: Examined) -> str:
    return "the signature was checked" if examined.countersigned else "the signature was not checked"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _section(title: str, body: str) -> str:
    return f"<h2>{_text(title)}</h2>\n{body}"


def _fields(rows: Iterable[tuple[str, str]]) -> str:
    lines = (f'<tr><th scope="row">{_text(name)}</th>{_cell(value)}</tr>' for name, value in rows)
    return f'<table class="fields">{"".join(lines)}</table>'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"


def _cell(value: str) -> str:
    return f"<td>{_text(value)}</td>"


def _text(words: str) -> str:
    """
    Return text as HTML that shows it and does nothing else.

    Characters that are not seen but change what is seen, such as those that turn the writing direction, are written as
    numbers; letters of another direction stay within their own field.
    """
    seen = "".join(f"\\u{ord(one):04x}" if unicodedata.category(one) in _INVISIBLE else one for one in words)
    return f"<bdi>{html.escape(seen)}</bdi>"
