"""What `rackproof benchmarks` does, on the database directly as the other commands do."""

from collections.abc import Mapping, Sequence

import msgspec

from collector.benchmarks.plausibility.seen import amount
from collector.benchmarks.verification import Verdict, decide
from collector.cli.tokens import ACTOR, on_database
from collector.compose import utc_now
from collector.config import Settings
from collector.store import audit, records
from collector.store.engine import Connection
from shared.codes import Code, Trouble
from shared.records import FIGURES, Benchmark


def lines(settings: Settings, filters: Mapping[str, object], limit: int, *, as_json: bool) -> list[str]:
    """Return a line for each benchmark, the newest first."""

    async def work(conn: Connection) -> list[Benchmark]:
        return await records.page(conn, Benchmark, filters, None, limit, reverse=True)

    found = on_database(settings, work)
    return [msgspec.json.encode(row).decode() if as_json else plain(_line(row)) for row in found]


def shown(settings: Settings, benchmark_id: str, *, as_json: bool) -> str:
    """
    Return one benchmark in words.

    Raises:
        Trouble: `not_found`.
    """

    async def work(conn: Connection) -> Benchmark | None:
        return await records.get(conn, Benchmark, benchmark_id)

    row = on_database(settings, work)
    if row is None:
        raise Trouble(Code.NOT_FOUND, f"no benchmark {benchmark_id}")
    return (
        msgspec.json.format(msgspec.json.encode(row)).decode()
        if as_json
        else "\n".join(plain(line) for line in _described(row))
    )


def decide_all(
    settings: Settings,
    benchmark_ids: Sequence[str],
    verdict: str,
    reason: str | None,
    *,
    despite_flags: bool = False,
) -> None:
    """
    Store one decision on several benchmarks, in one transaction.

    Raises:
        Trouble: as `decide`; then none of them is decided.
    """

    async def work(conn: Connection) -> None:
        now = utc_now()
        for key in dict.fromkeys(benchmark_ids):
            await decide(conn, key, Verdict(verdict), reason, ACTOR, now, despite_flags=despite_flags)
            await audit.append(
                conn,
                at=now,
                actor=ACTOR,
                role="operator",
                address="",
                action=f"{verdict} benchmark",
                object=key,
                after={"decision": verdict, "reason": reason, "despite_flags": despite_flags},
            )

    on_database(settings, work)


def plain(line: str) -> str:
    """Return a line without what a terminal would obey: some of its words are a machine's."""
    return "".join(sign if sign.isprintable() else "?" for sign in line)


def _line(row: Benchmark) -> str:
    codes = sorted({one.code for one in row.flags if not one.shadow})
    figures = [f"{name} {value:,.5g}" for name in FIGURES if (value := getattr(row, name)) is not None]
    status = f"{row.admin_verification_status:8}"
    return f"{row.benchmark_id}  {row.hardware_id}  {status}  {', '.join(figures) or '-'}  {' '.join(codes)}".rstrip()


def _described(row: Benchmark) -> list[str]:
    made = [f"{row.benchmark_id}  {row.hardware_id}  {row.collected_at.isoformat(timespec='seconds')}"]
    by = f" by {row.verified_by}: {row.rejection_reason or 'no reason'}" if row.verified_by else ""
    made.append(f"{row.admin_verification_status}{by}; {row.assurance}; {row.method_version}")
    for name in FIGURES:
        value = getattr(row, name)
        made.append(f"  {name:24} {amount(value, name) if value is not None else '-'}")
    for name, component in row.details.items():
        told = [*component.get("marks", ()), *([str(component["reason"])] if component.get("reason") else [])]
        made += [f"  {name}: {', '.join(told)}"] if told else []
    for one in row.flags:
        about = f" {one.figure}" if one.figure else ""
        made.append(f"  {'shadow' if one.shadow else 'FLAG'} {one.code}{about}: {one.words}")
    return made
