"""The proof behind a wipe: its signed evidence, the page for people, and the public keys that check it elsewhere."""

from aiohttp import web
from msgspec import Struct

from collector.api.records import key_in
from collector.api.routing import Answer, Caller, Route
from collector.certificate_page import STYLE_SHA256, page
from collector.certificates import Examined, examine, parse
from collector.evidence import EvidenceStore
from collector.store import links, records
from collector.store.engine import Database
from collector.store.links import MachineKey
from shared.codes import Code, Trouble
from shared.documents import Certificate, Trust
from shared.envelope import key_id
from shared.records import DataWipe

HTML = "text/html"
PAGE_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src '{STYLE_SHA256}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""The page is text with one known style sheet: nothing in it may load, run or be framed."""


class MachineKeys(Struct, frozen=True, kw_only=True):
    """A machine's public keys."""

    items: tuple[MachineKey, ...]


class CollectorKey(Struct, frozen=True, kw_only=True):
    """The public key, hex, with which this collector signs receipts."""

    key_id: str
    public_key: str


class Certificates:
    """
    Serves certificates.

    Args:
        database: Where wipes and keys are.
        evidence: Where certificates are.
        trust: This collector's own keys.
    """

    def __init__(self, database: Database, evidence: EvidenceStore, trust: Trust) -> None:
        self._database = database
        self._evidence = evidence
        self._collector_key = trust.collector_public_key

    def routes(self) -> list[Route]:
        """Return the operations on certificates and keys."""
        return [
            Route(
                method="GET",
                path="/v1/data_wipes/{key}/evidence",
                handler=self.evidence,
                summary="The certificate behind a wipe: evidence as the machine's wiper signed it, and the receipt.",
                answers=Certificate,
            ),
            Route(
                method="GET",
                path="/v1/data_wipes/{key}/certificate",
                handler=self.certificate,
                summary="The same as a printable page, its signatures checked.",
                content_type=HTML,
            ),
            Route(
                method="GET",
                path="/v1/machines/{key}/keys",
                handler=self.machine_keys,
                summary="A machine's public keys, present and past; the wiper's is what signs evidence.",
                answers=MachineKeys,
            ),
            Route(
                method="GET",
                path="/v1/collector_key",
                handler=self.collector_key,
                summary="The public key with which this collector signs receipts.",
                answers=CollectorKey,
            ),
        ]

    async def evidence(self, request: web.Request, _caller: Caller) -> Answer:
        """Return a wipe's certificate; the address on the row is ours and is never fetched on anyone's word."""
        wipe, digest = await self._wipe(key_in(request))
        raw = await self._evidence.fetch(wipe.hardware_id, digest)
        headers = {"Content-Disposition": f'attachment; filename="{digest}.json"', "X-Content-Type-Options": "nosniff"}
        return Answer(body=raw, headers=headers)

    async def certificate(self, request: web.Request, _caller: Caller) -> Answer:
        """Return the page about a wipe's certificate."""
        wipe, digest = await self._wipe(key_in(request))
        found = await self._examined(wipe, digest)
        body = page(found, chain_gap=wipe.chain_gap).encode()
        return Answer(body=body, content_type=HTML, headers=PAGE_HEADERS)

    async def machine_keys(self, request: web.Request, _caller: Caller) -> Answer:
        """Return a machine's keys."""
        key = key_in(request)
        async with self._database.read() as conn:
            found = await links.keys_of(conn, key)
        if not found:
            raise Trouble(Code.NOT_FOUND, f"no machine {key}")
        return Answer(body=MachineKeys(items=tuple(found)))

    async def collector_key(self, _request: web.Request, _caller: Caller) -> Answer:
        """Return the collector's key."""
        raw = self._collector_key
        return Answer(body=CollectorKey(key_id=key_id(raw), public_key=raw.hex()))

    async def _wipe(self, wipe_id: str) -> tuple[DataWipe, str]:
        async with self._database.read() as conn:
            wipe = await records.get(conn, DataWipe, wipe_id)
        if wipe is None or wipe.evidence_sha256 is None:
            raise Trouble(Code.NOT_FOUND, "no such wipe, or it left no evidence")
        return wipe, wipe.evidence_sha256

    async def _examined(self, wipe: DataWipe, digest: str) -> Examined:
        """
        Return a certificate, its signatures checked with the keys this collector knows.

        Raises:
            Trouble: `store_unavailable`: what is stored is not what was received.
        """
        raw = await self._evidence.fetch(wipe.hardware_id, digest)
        async with self._database.read() as conn:
            keys = await links.keys_of(conn, wipe.hardware_id)
        wipers = [bytes.fromhex(one.public_key) for one in keys if one.role == "wiper"]
        try:
            return examine(parse(raw), wipers, [self._collector_key])
        except Trouble as trouble:
            words = f"the stored certificate {digest} does not hold: {trouble.code}: {trouble.detail}"
            raise Trouble(Code.STORE_UNAVAILABLE, words) from trouble
