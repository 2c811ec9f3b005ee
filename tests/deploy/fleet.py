"""A machine that reports whatever it is told to, over a real link."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.codec import decode, encode
from shared.documents import EnrollmentClaim, EnrollmentReply, EnrollmentRequest, sign
from shared.messages import SUBPROTOCOL, Facts, Health, Indicators
from shared.session import AgentSession, Machine
from tests.system.harness import Collector

EVERY_S = 0.5


class SimulatedAgent:
    """Enrolled when made; joins and reports from `start` to `stop`."""

    def __init__(self, collector: Collector, name: str, facts: Facts, report: Callable[[int], Indicators]) -> None:
        self._key, wiper = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self._origin, self._facts, self._report = collector.origin, facts, report
        token = collector.enrollment_token()
        claim = EnrollmentClaim(
            token_id="_".join(token.split("_")[:2]),
            origin=collector.origin,
            hardware_id=name,
            agent_public_key=self._key.public_key().public_bytes_raw(),
            wiper_public_key=wiper.public_key().public_bytes_raw(),
            boot_id="b",
            agent_version="1",
            facts=facts,
            claimed_at=datetime.now(UTC),
        )
        body = msgspec.json.encode(EnrollmentRequest(token=token, claim=sign(claim, self._key, wiper)))
        reply = msgspec.convert(collector.ask("POST", "/v1/agent/enroll", body), EnrollmentReply)
        self.hardware_id, self._trust = reply.hardware_id, reply.trust
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._talk()), name=name)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    async def _talk(self) -> None:
        machine = Machine(
            hardware_id=self.hardware_id,
            agent_public_key=self._key.public_key().public_bytes_raw(),
            origin=self._origin,
            collector_public_key=self._trust.collector_public_key,
            join_counter=0,
            boot_id="b",
            outbox_id="o",
            agent_version="1",
            policy_hash="",
            facts=self._facts,
        )
        session = AgentSession(machine, self._key.sign, os.urandom(32))
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{self._origin}/v1/agent/link", protocols=(SUBPROTOCOL,)) as socket,
        ):
            (hello,) = session.receive(decode((await socket.receive()).data), datetime.now(UTC))
            await socket.send_str(encode(hello.message).decode())
            number = 0
            while not self._stop.is_set():
                number += 1
                now, found = datetime.now(UTC), self._report(number)
                await socket.send_str(
                    encode(Health(seq=number, boot_id="b", collected_at=now, indicators=found)).decode()
                )
                with contextlib.suppress(TimeoutError):
                    await socket.receive(EVERY_S)
                await asyncio.sleep(EVERY_S)
