"""The running agent: one TaskGroup, the list of its loops."""

import asyncio
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog

from agent import heap, identity, inventory, keys
from agent.benchmarking import account, answer, figures, network_of, run_benchmarks
from agent.benchmarks import Network, Request
from agent.config import Settings, digest
from agent.conversation import Ends, Mail
from agent.database import Database
from agent.exclusive import alone
from agent.health import Sampler
from agent.host import Host
from agent.journal import Journal
from agent.link import Link, tls_context
from agent.outbox import Outbox
from agent.outcomes import Signatory
from agent.path import NetworkPath
from agent.privileged import Wiper, wiper_argv
from agent.schedule import Schedule
from agent.status import write_status
from agent.tenancy import make_way, tenants
from agent.work import Answer, Doer, Report, Worker
from shared.codes import Trouble
from shared.documents import PRIVILEGED_KINDS, BenchmarkName, BenchmarkWork, Order
from shared.envelope import Envelope
from shared.messages import FactsChanged, Intervals, Values
from shared.session import Machine

log = structlog.get_logger()

LAG_EVERY_S = 1.0
LONGEST_WAIT_S = 300.0
"""How long an ordered measurement waits for one that somebody started by hand."""


class Daemon:
    """
    The agent's loops and what they share.

    Args:
        settings: What the provider set.
        host: The machine.
        make_sampler: Makes the sampler, given what the agent tells of itself.
        version: This program's.

    Raises:
        Trouble: `not_enrolled`, `already_running`, `state_unwritable`, `state_corrupt` or `bad_configuration`.
    """

    def __init__(
        self,
        settings: Settings,
        host: Host,
        make_sampler: Callable[[Callable[[], Mapping[str, Values]]], Sampler],
        version: str,
    ) -> None:
        self._settings = settings
        self._host = host
        self._version = version
        self._pinned = identity.load(settings.pinned_file)
        key = keys.load(settings.key_file)
        self._public_key = key.public_key().public_bytes_raw()
        self._tls = tls_context(settings.ca_file)
        self._database = Database(settings.state_file)
        self._boot_id = inventory.boot_id(host)
        self._run_id = secrets.token_hex(8)
        self._outbox = Outbox(self._database, boot_id=self._boot_id)
        self._journal = Journal(self._database)
        self._facts = inventory.facts(host)
        self._signatory = Signatory(key, self._boot_id, version, lambda: datetime.now(UTC))
        self._mail = Mail()
        self._tenants = tenants(self._journal.of_kinds(PRIVILEGED_KINDS))
        self._link_state = "starting"
        self._lag_ms = 0.0
        self._path = NetworkPath()
        self._sampler = make_sampler(self._own)
        self._worker = Worker(
            self._pinned, self._journal, self._doers(), self._signatory.failure, self._mail.pass_on, self._on_answer
        )
        ends = Ends(
            machine=self._machine,
            sign=key.sign,
            outbox=self._outbox,
            journal=self._journal,
            on_command=self._worker.take,
            on_intervals=self._on_intervals,
        )
        self._link = Link(ends, self._mail, self._tls, self._on_link, self._path)
        self._schedule = Schedule(self._report, self._inventory)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; work under way is resumed by the next start."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, stop.set)
        log.info(
            "agent.started", hardware_id=self._pinned.hardware_id, origin=self._pinned.origin, version=self._version
        )
        self._schedule.start(Intervals().heartbeat_s)
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._link.run(), name="link"),
                group.create_task(self._worker.run(), name="worker"),
                group.create_task(self._measure_lag(), name="lag"),
                group.create_task(self._first_report(), name="first-report"),
            ]
            await stop.wait()
            self._schedule.stop()
            for task in loops:
                task.cancel()
        self._database.close()
        log.info("agent.stopped")

    def _doers(self) -> dict[str, Doer]:
        wiper = Wiper(wiper_argv(self._settings), self._settings.wiper_socket)
        return {"benchmark": self._benchmark, "wipe": wiper.do, "access_grant": wiper.do, "access_revoke": wiper.do}

    async def _benchmark(self, order: Order, envelope: Envelope, report: Report) -> Answer:
        assert isinstance(order.work, BenchmarkWork)
        work, started_at = order.work, datetime.now(UTC)
        request = Request(
            quick=work.quick,
            directory=self._settings.benchmark_dir,
            nonce=work.challenge.nonce if work.challenge else None,
            server=work.server,
            # What is left of the budget is nobody else's business, nor that it cannot be read.
            network=network_of(self._settings, started_at) if BenchmarkName.NETWORK in work.components else Network(),
        )
        make_way(self._journal.of_kinds(PRIVILEGED_KINDS))
        async with alone(self._settings.state_dir, LONGEST_WAIT_S):
            components = await run_benchmarks(work.components, request, report)
            answered = await answer(work.challenge, work.components) if work.challenge else None
        try:
            account(self._settings, components, started_at)
        except Trouble as trouble:
            # Book-keeping of ours; the figures are there all the same.
            log.error("budget.not_kept", code=trouble.code, detail=trouble.detail)
        return self._signatory.benchmark(order, envelope, started_at, components, figures(components), answered)

    async def _report(self) -> None:
        """Take one health report and put it into the outbox; one that cannot be kept is missed by its number."""
        try:
            indicators = await self._sampler.sample()
            self._outbox.add(self._boot_id, datetime.now(UTC), indicators)
        except Trouble as trouble:
            seq = self._outbox.lose(trouble)
            log.error("report.not_kept", seq=seq, code=trouble.code, detail=trouble.detail, remedy=trouble.remedy)
        else:
            self._mail.notify()
        self._say()
        heap.tidy()

    async def _first_report(self) -> None:
        await self._report()
        heap.set_apart()

    async def _inventory(self) -> None:
        facts = await asyncio.to_thread(inventory.facts, self._host)
        if facts != self._facts:
            log.warning("machine.changed", before=str(self._facts), after=str(facts))
            self._facts = facts
            self._mail.pass_on(FactsChanged(facts=facts))

    async def _measure_lag(self) -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(LAG_EVERY_S)
            self._lag_ms = max(self._lag_ms, (time.monotonic() - begun - LAG_EVERY_S) * 1000)

    def _own(self) -> Mapping[str, Values]:
        lag_ms, self._lag_ms = self._lag_ms, 0.0
        agent: Values = {
            "version": self._version,
            "loop_lag_ms": round(lag_ms, 1),
            "outbox_depth": self._outbox.depth(),
            "dropped_samples": self._outbox.dropped(),
            "configuration_hash": digest(self._settings),
        }
        return {"agent": agent, "network": self._path.readings()}

    def _machine(self) -> Machine:
        return Machine(
            hardware_id=self._pinned.hardware_id,
            agent_public_key=self._public_key,
            origin=self._pinned.origin,
            collector_public_key=self._pinned.trust.collector_public_key,
            join_counter=self._outbox.join_counter(),
            boot_id=self._boot_id,
            outbox_id=self._outbox.outbox_id,
            agent_version=self._version,
            policy_hash=digest(self._settings),
            facts=self._facts,
            run_id=self._run_id,
        )

    def _on_answer(self) -> None:
        # Not with every report: years of certificates would be read each time.
        self._tenants = tenants(self._journal.of_kinds(PRIVILEGED_KINDS))
        self._mail.notify()
        self._say()

    def _on_intervals(self, intervals: Intervals) -> None:
        self._schedule.pace(intervals.heartbeat_s)

    def _on_link(self, state: str) -> None:
        self._link_state = state
        self._say()

    def _say(self) -> None:
        try:
            self._tell()
        except Trouble as trouble:
            log.warning("status.not_written", code=trouble.code, detail=trouble.detail)

    def _tell(self) -> None:
        write_status(
            self._settings.status_file,
            link=self._link_state,
            doing=self._worker.doing,
            waiting=self._outbox.depth(),
            unsettled=len(self._journal.unsettled()),
            tenants=len(self._tenants),
        )
