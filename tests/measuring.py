"""A real measuring server as a process, and tickets for it."""

import http.client
import json
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.documents import BandwidthTicket, MeasuringServer, sign
from shared.envelope import Envelope
from tests.bucket import free_port
from tests.certificates import self_signed
from tests.system.harness import Program, program, wait_for


class Bandwidth(Program):
    """`rackproof bandwidth-server` with TLS on loopback."""

    def __init__(self, folder: Path, *, link_gbps: float = 1000, workers: int = 2) -> None:
        certificate, key = self_signed(folder, "127.0.0.1")
        self.ca_file = folder / "ca.pem"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.collector = Ed25519PrivateKey.generate()
        self.key_file = folder / "own.key"
        public = self.collector.public_key().public_bytes_raw().hex()
        told = ["--listen", f"127.0.0.1:{self.port}", "--link-gbps", str(link_gbps), "--collector-key", public]
        files = ["--key-file", str(self.key_file), "--tls-cert", str(certificate), "--tls-key", str(key)]
        argv = program("collector", "bandwidth-server", *told, *files, "--origin", self.url, "--workers", str(workers))
        super().__init__("bandwidth", folder, argv)

    def start(self) -> None:
        super().start()
        wait_for(lambda: self.ask("GET", "/healthz")[0] == 200, 15, "the measuring server")

    @property
    def public_key(self) -> bytes:
        raw = bytes.fromhex(self.key_file.read_text())
        return Ed25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw()

    def ticket(self, *, url: str = "", seconds: float = 300, key: Ed25519PrivateKey | None = None) -> Envelope:
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        name = f"tkt_{os.urandom(8).hex()}"
        ticket = BandwidthTicket(ticket_id=name, hardware_id="hw_0123456789", server=url or self.url, not_after=until)
        return sign(ticket, key or self.collector)

    def place(self, **ticket) -> MeasuringServer:
        return MeasuringServer(url=self.url, ticket=self.ticket(**ticket))

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str):
        """Return status, headers, and the body, read as JSON where it is."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.tls())
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return (
            answer.status,
            answer.headers,
            json.loads(text) if b"json" in answer.headers["Content-Type"].encode() else text,
        )
