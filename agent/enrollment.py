"""Becoming known to a collector: a token, two new keys, and their proof; safe to repeat when the answer was lost."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from agent import identity, keys
from agent.config import Settings, prepare
from agent.link import tls_context
from shared.codes import Code, Trouble
from shared.documents import EnrollmentClaim, EnrollmentReply, EnrollmentRequest, sign
from shared.envelope import public_key
from shared.messages import Facts
from shared.problems import Problem, trouble_of

LIMIT_S = 30.0
MAX_REPLY_BYTES = 16_384

log = structlog.get_logger()


def checked_origin(url: str) -> str:
    """
    Return a collector's origin without a trailing slash.

    Raises:
        Trouble: `bad_configuration`: not http(s)://host[:port].
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise Trouble(Code.BAD_CONFIGURATION, f"{url!r} is not a collector's address", "give https://HOST[:PORT]")
    return f"{parts.scheme}://{parts.netloc}"


async def enroll(
    settings: Settings,
    origin: str,
    token: str,
    describe: Callable[[], tuple[str, str, Facts]],
    agent_version: str,
) -> identity.Pinned:
    """
    Enroll this machine and pin the answer.

    Args:
        settings: Where state is kept; both directories are made.
        origin: The collector's address.
        token: "rpe_<id>_<secret>".
        describe: Gives hardware id, boot id and facts.
        agent_version: This program's.

    Raises:
        Trouble: `already_enrolled`, or what the collector answered; nothing is pinned then, and the keys made here are
            used again by the next try, so that a lost answer can be asked for once more.
    """
    for directory in (settings.state_dir, settings.wiper_dir):
        prepare(Path(directory))
    if settings.pinned_file.exists():
        pinned = identity.load(settings.pinned_file)
        raise Trouble(Code.ALREADY_ENROLLED, f"this machine is {pinned.hardware_id} at {pinned.origin}")
    agent_key, wiper_key = keys.load_or_create(settings.key_file), keys.load_or_create(settings.wiper_key_file)
    hardware_id, boot_id, facts = describe()
    claim = EnrollmentClaim(
        token_id=token_id(token),
        origin=origin,
        hardware_id=hardware_id,
        agent_public_key=agent_key.public_key().public_bytes_raw(),
        wiper_public_key=wiper_key.public_key().public_bytes_raw(),
        boot_id=boot_id,
        agent_version=agent_version,
        facts=facts,
        claimed_at=datetime.now(UTC),
    )
    reply = await _post(
        origin, EnrollmentRequest(token=token, claim=sign(claim, agent_key, wiper_key)), settings.ca_file
    )
    public_key(reply.trust.collector_public_key)
    public_key(reply.trust.order_public_key)
    pinned = identity.Pinned(
        hardware_id=reply.hardware_id, customer_id=reply.customer_id, origin=origin, trust=reply.trust
    )
    identity.save(settings.wiper_pinned_file, pinned)
    # Last, because it is what "enrolled" means: a crash before this line is mended by enrolling again.
    identity.save(settings.pinned_file, pinned)
    log.info("agent.enrolled", hardware_id=pinned.hardware_id, origin=origin)
    return pinned


def token_id(token: str) -> str:
    """
    Return the public part of an enrollment token.

    Raises:
        Trouble: `token_unknown`: it does not look like one.
    """
    parts = token.strip().split("_")
    if len(parts) != 3 or parts[0] != "rpe" or not all(parts):
        raise Trouble(Code.TOKEN_UNKNOWN, "that is not an enrollment token", "make one: rackproof token enrollment")
    return f"{parts[0]}_{parts[1]}"


async def _post(origin: str, request: EnrollmentRequest, ca_file: str) -> EnrollmentReply:
    limit = aiohttp.ClientTimeout(total=LIMIT_S)
    headers = {"Content-Type": "application/json"}
    tls = tls_context(ca_file)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as http,
            http.post(
                f"{origin}/v1/agent/enroll",
                data=msgspec.json.encode(request),
                headers=headers,
                ssl=tls if tls is not None else True,
                allow_redirects=False,
            ) as response,
        ):
            body = b""
            while len(body) < MAX_REPLY_BYTES and (part := await response.content.read(MAX_REPLY_BYTES)):
                body += part
            return _understood(response.status, body)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        words = f"{origin}: {type(error).__name__} {error}".strip()[:300]
        raise Trouble(
            Code.COLLECTOR_UNREACHABLE, words, "check the address, the network and the certificate"
        ) from error


def _understood(status: int, body: bytes) -> EnrollmentReply:
    try:
        if status == 200:
            return msgspec.json.decode(body, type=EnrollmentReply)
        raise trouble_of(msgspec.json.decode(body, type=Problem))
    except msgspec.MsgspecError as error:
        raise Trouble(Code.COLLECTOR_UNREACHABLE, f"HTTP {status} from something that is no collector") from error
