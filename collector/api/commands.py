"""Orders over REST: queue one, look at it, take it back while nobody has it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from collector.api.auditing import note
from collector.api.records import key_in, page_in, page_of
from collector.api.routing import WRITERS, Answer, Caller, Page, Route, body_of
from collector.benchmarks.ordering import BenchmarkOrders
from collector.bus.local import Bell
from collector.links.dispatch import FROM, State
from collector.orders import LIFETIME, Orders, account_target
from collector.store import commands
from collector.store.commands import CommandRow
from collector.store.engine import Connection, Database
from shared.codes import Code, Trouble
from shared.documents import BenchmarkName, GrantWork, RevokeWork, Username, WipeWork, Work
from shared.envelope import Envelope
from shared.records import Moment, RecordId, WipeMethod

Lifetime = Annotated[int, Meta(ge=10, le=90 * 86_400)]


class BenchmarkAsked(Struct, frozen=True, kw_only=True, tag_field="kind", tag="benchmark", forbid_unknown_fields=True):
    """Ask for benchmarks. `expires_in_s`: how long the order may wait for its machine."""

    hardware_id: RecordId
    components: Annotated[tuple[BenchmarkName, ...], Meta(min_length=1, max_length=4)]
    quick: bool = False
    expires_in_s: Lifetime = int(LIFETIME.total_seconds())


class GrantAsked(Struct, frozen=True, kw_only=True, tag_field="kind", tag="access_grant", forbid_unknown_fields=True):
    """Ask for a tenant's account."""

    hardware_id: RecordId
    username: Username
    ssh_keys: Annotated[tuple[Annotated[str, Meta(max_length=4096)], ...], Meta(max_length=16)] = ()
    booking_id: RecordId | None = None
    expires_in_s: Lifetime = int(LIFETIME.total_seconds())


class WipeAsked(Struct, frozen=True, kw_only=True, tag_field="kind", tag="wipe", forbid_unknown_fields=True):
    """Ask for the wipe of a tenant's account, by its name; which one that is, the collector knows from the grant."""

    hardware_id: RecordId
    username: Username
    methods: Annotated[tuple[WipeMethod, ...], Meta(min_length=1, max_length=3)]
    booking_id: RecordId | None = None
    expires_in_s: Lifetime = int(LIFETIME.total_seconds())


class RevokeAsked(Struct, frozen=True, kw_only=True, tag_field="kind", tag="access_revoke", forbid_unknown_fields=True):
    """Ask for the end of a tenant's access, by his account's name; his data is kept until a wipe is ordered."""

    hardware_id: RecordId
    username: Username
    booking_id: RecordId | None = None
    expires_in_s: Lifetime = int(LIFETIME.total_seconds())


Asked = BenchmarkAsked | GrantAsked | RevokeAsked | WipeAsked


class CommandView(Struct, frozen=True, kw_only=True):
    """A command as the API shows it. `outcome`: the signed document's content, once there is one."""

    command_id: RecordId
    hardware_id: RecordId
    kind: str
    state: State
    seq: int
    booking_id: RecordId | None
    requested_by: str
    created_at: Moment
    expires_at: Moment
    sent_at: Moment | None
    accepted_at: Moment | None
    finished_at: Moment | None
    code: str | None
    detail: str | None
    progress: Any
    outcome: Any


class Commands:
    """
    Serves commands.

    Args:
        database: Where they are.
        orders: Signs them.
        benchmark_orders: Orders benchmarks.
        bell: Rung when one waits for its machine.
        now: The clock.
    """

    def __init__(
        self,
        database: Database,
        orders: Orders,
        benchmark_orders: BenchmarkOrders,
        bell: Bell,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._orders = orders
        self._benchmark_orders = benchmark_orders
        self._bell = bell
        self._now = now

    def routes(self) -> list[Route]:
        """Return the operations on commands."""
        query = {"hardware_id": "only this machine's", "state": "only in this state", "limit": "", "cursor": ""}
        return [
            Route(
                method="GET",
                path="/v1/commands",
                handler=self.page,
                summary="Commands, oldest first.",
                answers=Page[CommandView],
                query=query,
            ),
            Route(
                method="GET", path="/v1/commands/{key}", handler=self.get, summary="One command.", answers=CommandView
            ),
            Route(
                method="POST",
                path="/v1/commands",
                handler=self.queue,
                roles=WRITERS,
                body=Asked,
                success=202,
                summary="Sign an order and queue it until its machine takes it.",
                answers=CommandView,
            ),
            Route(
                method="POST",
                path="/v1/commands/{key}/cancel",
                handler=self.cancel,
                roles=WRITERS,
                summary="Take a command back that has not been sent.",
                answers=CommandView,
            ),
        ]

    async def page(self, request: web.Request, _caller: Caller) -> Answer:
        """List commands."""
        limit, after = page_in(request)
        async with self._database.read() as conn:
            rows = await commands.page(
                conn, request.query.get("hardware_id"), request.query.get("state"), after, limit + 1
            )
        return Answer(body=page_of([view(row) for row in rows], limit, "command_id"))

    async def get(self, request: web.Request, _caller: Caller) -> Answer:
        """Show one command."""
        async with self._database.read() as conn:
            return Answer(body=view(await self._known(conn, key_in(request))))

    async def queue(self, request: web.Request, caller: Caller) -> Answer:
        """Queue an order; the answer comes before the machine has it."""
        asked: Asked = await body_of(request, Asked)  # type: ignore[arg-type]  # a union is a type to msgspec
        async with self._database.write() as conn:
            row = await self._issue(conn, asked, f"{caller.role} {caller.name}"[:300])
            await note(conn, caller, self._now(), f"order {row.kind}", row.command_id, after=msgspec.to_builtins(asked))
        return Answer(
            body=view(row),
            status=202,
            headers={"Location": f"/v1/commands/{row.command_id}"},
            after=lambda: self._bell.ring(row.hardware_id),
        )

    async def cancel(self, request: web.Request, caller: Caller) -> Answer:
        """Take a queued command back."""
        key = key_in(request)
        async with self._database.write() as conn:
            row = await self._known(conn, key)
            allowed = FROM[State.CANCELED]
            if not await commands.advance(conn, key, State.CANCELED, now=self._now(), allowed_from=allowed):
                raise Trouble(Code.CONFLICT, f"the command is {row.state}: its machine may have it")
            await note(conn, caller, self._now(), "cancel", key)
            row = await self._known(conn, key)
        return Answer(body=view(row))

    async def _issue(self, conn: Connection, asked: Asked, requested_by: str) -> CommandRow:
        lifetime = timedelta(seconds=asked.expires_in_s)
        if isinstance(asked, BenchmarkAsked):
            return await self._benchmark_orders.issue(
                conn,
                asked.hardware_id,
                asked.components,
                quick=asked.quick,
                requested_by=requested_by,
                lifetime=lifetime,
            )
        return await self._orders.issue(
            conn,
            asked.hardware_id,
            await self._work(conn, asked),
            requested_by=requested_by,
            booking_id=asked.booking_id,
            lifetime=lifetime,
        )

    async def _work(self, conn: Connection, asked: GrantAsked | RevokeAsked | WipeAsked) -> Work:
        match asked:
            case GrantAsked():
                return GrantWork(username=asked.username, ssh_keys=asked.ssh_keys)
            case WipeAsked():
                target = await account_target(conn, asked.hardware_id, asked.username)
                return WipeWork(target=target, methods=asked.methods)
            case RevokeAsked():
                return RevokeWork(target=await account_target(conn, asked.hardware_id, asked.username))

    async def _known(self, conn: Connection, command_id: str) -> CommandRow:
        row = await commands.get(conn, command_id)
        if row is None:
            raise Trouble(Code.NOT_FOUND, f"no command {command_id}")
        return row


def view(row: CommandRow) -> CommandView:
    """Return a command as the API shows it."""
    envelope = msgspec.json.decode(row.result, type=Envelope) if row.result else None
    return CommandView(
        command_id=row.command_id,
        hardware_id=row.hardware_id,
        kind=row.kind,
        state=State(row.state),
        seq=row.seq,
        booking_id=row.booking_id,
        requested_by=row.requested_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        sent_at=row.sent_at,
        accepted_at=row.accepted_at,
        finished_at=row.finished_at,
        code=row.code,
        detail=row.detail,
        progress=row.progress,
        outcome=msgspec.json.decode(envelope.payload) if envelope else None,
    )
