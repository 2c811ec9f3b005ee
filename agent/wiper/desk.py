"""One request from the envelope to the answer: verify, lock, judge, check, journal, do, sign, journal, answer."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.identity import Pinned
from agent.wiper import grant, history
from agent.wiper.accounts import Tenant, check_target
from agent.wiper.evidence import Machine
from agent.wiper.ground import Ground
from agent.wiper.history import History
from agent.wiper.inspection import inspect
from agent.wiper.journal import Answered, Fact, Journal, OrderTaken, TenantRecorded
from agent.wiper.lock import held
from agent.wiper.orders import Answer, Proceed, Refuse, Resume, judge, verified
from agent.wiper.policy import Policy
from agent.wiper.steps import Subject
from agent.wiper.wipe import Wipe
from shared.codec import encode
from shared.codes import Code, Trouble
from shared.documents import Document, GrantWork, Order, WipeWork, WorkFailure, kind_of, sha256_of, sign
from shared.messages import Accepted, Command, Progress, Refused, Result

log = structlog.get_logger()

Say = Callable[[bytes], None]
"""Writes one message to whoever asked; never fails."""


class Desk:
    """
    Where requests come in.

    Args:
        state_dir: The wiper's own directory, for the journal and the lock.
        pinned: Whom this machine obeys.
        key: What outcomes are signed with.
        policy: The provider's.
        ground: The machine, real or simulated.
        machine: How evidence describes it.
        now: The clock, UTC.
        say: Takes each message, in order.
    """

    def __init__(
        self,
        state_dir: Path,
        pinned: Pinned,
        key: Ed25519PrivateKey,
        policy: Policy,
        ground: Ground,
        machine: Machine,
        now: Callable[[], datetime],
        say: Say,
    ) -> None:
        self._state_dir = state_dir
        self._pinned = pinned
        self._key = key
        self._policy = policy
        self._ground = ground
        self._machine = machine
        self._now = now
        self._say = say

    def serve(self, command: Command) -> None:
        """
        Answer one command: `refused` when nothing was touched for it, else `result`; once answered, always the same.

        Raises:
            Trouble: the work was begun and could not be brought to an end; it goes on when asked again.
        """
        try:
            order = verified(command, self._pinned.trust, self._pinned.hardware_id)
        except Trouble as trouble:
            self._refuse(command.command_id, trouble)
            return
        try:
            with held(self._state_dir / "lock", order.command_id):
                self._with_journal(order, sha256_of(command.envelope))
        except _RefusedError as refused:
            self._refuse(order.command_id, refused.trouble)
        except Trouble as trouble:
            if trouble.code is not Code.BUSY and trouble.code is not Code.JOURNAL_UNWRITABLE:
                raise
            self._refuse(order.command_id, trouble)

    def _with_journal(self, order: Order, sha256: str) -> None:
        raise NotImplementedError

    def _refuse(self, command_id: str, trouble: Trouble) -> None:
        self._say(encode(Refused(command_id=command_id, code=trouble.code, detail=trouble.detail[:300])))
