"""`rackproof demo`: the whole path on this machine, with real processes, and nothing left afterwards."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import Progress

from collector.cli.stage import ROOT_OF_PROJECT, Api, Stage, free_port, program, stage
from collector.cli.tenancy import TENANT, Machine
from shared.codes import Code, Trouble
from shared.records import WipeMethod

PATIENCE_S = 120.0
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7qx1e5dDLmVQvXl1Y3sT7Qh0kqcS3n1uYV2mF5mZ8b demo"


async def demo(*, once: bool) -> None:
    """Tell and do the whole story; without `once` it then waits for Ctrl-C."""
    out = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    async with stage() as made, aiohttp.ClientSession() as http:
        await _interruptible(_story(out, made, http, began, once=once))
    out.print("Stopped; nothing is left.")


async def _interruptible(story: Any) -> None:
    """Run the story; Ctrl-C and SIGTERM end it, and the stage is cleared in order."""
    task = asyncio.ensure_future(story)
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _story(out: Console, made: Stage, http: aiohttp.ClientSession, began: float, *, once: bool) -> None:
    port = free_port()
    origin, data = f"http://127.0.0.1:{port}", made.folder / "collector"
    out.print(f"[bold]1  Collector[/]  {origin}, SQLite and evidence in {data}")
    measuring, key_file = f"http://127.0.0.1:{free_port()}", made.folder / "bandwidth.key"
    key = await made.run(*program("collector", "bandwidth-server", "--key-file", str(key_file), "--show-key"))
    config = made.folder / "collector.toml"
    settings = [f'bandwidth_server = "{measuring}"', f'bandwidth_server_key = "{key}"', "benchmark_every_days = 0"]
    config.write_text("\n".join(settings) + "\n")
    places = ("--data-dir", str(data), "--listen", f"127.0.0.1:{port}", "--config", str(config))
    await made.start("collector", *program("collector", "serve", "--migrate", *places))
    await _answering(made, http, f"{origin}/readyz")
    owner = ("--data-dir", str(data))
    token = await made.run(*program("collector", "token", "create", *owner, "--role", "admin", "--name", "demo"))
    api = Api(http, origin, token)
    collector_key = (await api.ask("GET", "/v1/collector_key"))["public_key"]
    await _measuring_server(made, http, measuring, key_file, collector_key)
    await api.ask("PUT", "/v1/users/usr_provider", _provider())
    enrollment = (await api.ask("POST", "/v1/enrollment_tokens", {"customer_id": "usr_provider"}))["token"]

    out.print("[bold]2  Agent[/]      enrolls with a single-use token and two keys of its own")
    machine, hardware_id = await _agent(made, origin, enrollment)
    if machine.real:
        out.print("   as root: it runs in a private view of this machine; accounts it makes exist only there")
    else:
        out.print("   without root: it works on a simulated machine in a directory")
    row = await _until(lambda: api.ask("GET", f"/v1/machines/{hardware_id}"), _reported, made, "the first report")
    _show_machine(out, row)

    out.print("[bold]4  Benchmark[/]  a quick look, ordered over the link and signed by the machine")
    ordered = {"kind": "benchmark", "hardware_id": hardware_id, "components": ["disk", "cpu", "network"], "quick": True}
    command = await _done(out, made, api, ordered)
    (measured,) = (await api.ask("GET", f"/v1/benchmarks?command_id={command['command_id']}"))["items"]
    _show_benchmark(out, measured)

    await _wipe(out, made, api, machine, hardware_id)
    out.print(f"[bold]6  Records[/]    {data / 'rackproof.db'}, evidence below {data / 'evidence'}")
    out.print(f"   curl -H 'Authorization: Bearer {token if not once else 'rps_…'}' {origin}/v1/machines")
    out.print(f"   {origin}/v1/openapi.json, {origin}/metrics; logs: {made.folder}/collector.log, agent.log")
    out.print(f"All of it took {time.monotonic() - began:.0f} s.")
    if not once:
        out.print("[bold]Running.[/] Look around; Ctrl-C ends it and removes everything.")
        await asyncio.Event().wait()


async def _measuring_server(
    made: Stage, http: aiohttp.ClientSession, address: str, key_file: Path, collector_key: str
) -> None:
    """Start the server to which the agent measures its bandwidth, here by loopback."""
    listen = ("--listen", address.removeprefix("http://"), "--origin", address, "--workers", "1")
    keys = ("--key-file", str(key_file), "--collector-key", collector_key, "--link-gbps", "100")
    await made.start("bandwidth-server", *program("collector", "bandwidth-server", *listen, *keys))
    await _answering(made, http, f"{address}/healthz")


async def _agent(made: Stage, origin: str, enrollment: str) -> tuple[Machine, str]:
    """Enroll and start the agent; return the machine it works on, and its id."""
    home = made.folder / "machine"
    bench = home / "bench"
    bench.mkdir(parents=True)
    dirs = ("--state-dir", str(home / "agent"), "--wiper-dir", str(home / "wiper"))
    enroll = program("agent", "enroll", "--collector", origin, *dirs)
    hardware_id = await made.run(*enroll, given=enrollment)
    config = home / "agent.toml"
    lines = [f'benchmark_dir = "{bench}"', f'policy_file = "{home / "policy.toml"}"']
    real = os.geteuid() == 0 and await _view_works(made)
    if not real:
        lines.append(f'sandbox_dir = "{home / "simulated"}"')
    config.write_text("\n".join(lines) + "\n")
    run = program("agent", "run", "--config", str(config), *dirs)
    if not real:
        await made.start("agent", *run)
        return Machine(root=home / "simulated", real=False), hardware_id
    process = await made.start("agent", *_view(made, home), *run)
    first = await _child_of(process.pid)
    return Machine(root=Path("/proc", str(first), "root"), real=True), hardware_id


def _view(made: Stage, *binds: Path) -> tuple[str, ...]:
    """Return the command that runs another one in a private view; people's homes are not even visible in it."""
    point = made.folder / "view"
    point.mkdir(exist_ok=True)
    needed = {ROOT_OF_PROJECT, Path(sys.prefix), Path(sys.base_prefix)}
    shown = [flag for path in sorted(needed) if path.is_relative_to("/home") for flag in ("--show", str(path))]
    bound = [flag for path in binds for flag in ("--bind", str(path))]
    hidden = ["--hide", "/home"] if Path("/home").is_dir() else []
    return program("agent.host.view", str(point), *bound, *shown, *hidden, "--")


async def _view_works(made: Stage) -> bool:
    """Return whether this kernel and sandbox allow private views; containers often do not."""
    try:
        await made.run(*_view(made), "true")
    except Trouble:
        return False
    return True


async def _child_of(pid: int) -> int:
    for _ in range(200):
        if children := children_of(pid):
            return children[0]
        await asyncio.sleep(0.05)
    raise Trouble(Code.INTERNAL, "the private view did not start")


def children_of(pid: int) -> list[int]:
    """Return a process's children. Source: proc(5), /proc/pid/task/tid/children."""
    return [int(one) for one in Path("/proc", str(pid), "task", str(pid), "children").read_text().split()]


async def _wipe(out: Console, made: Stage, api: Api, machine: Machine, hardware_id: str) -> None:
    out.print("[bold]5  Wipe[/]       an account is granted, used by its tenant, and wiped by all three methods")
    granted = {"kind": "access_grant", "hardware_id": hardware_id, "username": TENANT, "ssh_keys": [KEY]}
    target = (await _done(out, made, api, granted))["outcome"]["target"]
    count = machine.settle(target["uid"])
    out.print(f"   {TENANT} (uid {target['uid']}) left {count} names, two of them leading to a neighbour's only copy")
    ordered = {"kind": "wipe", "hardware_id": hardware_id, "username": TENANT, "methods": list(WipeMethod)}
    command = await _done(out, made, api, ordered)
    rows = (await api.ask("GET", f"/v1/data_wipes?command_id={command['command_id']}"))["items"]
    evidence = command["outcome"]
    for row in sorted(rows, key=lambda one: list(WipeMethod).index(one["wipe_method_executed"])):
        colour = {"success": "green", "partial": "yellow"}.get(row["status"], "red")
        out.print(f"   [{colour}]{row['status']}[/]  {row['wipe_method_executed']:22} {row['wipe_id']}")
    out.print(f"   their evidence: {rows[0]['wipe_evidence_uri']}")
    for place in evidence["places"]:
        told = f"found {place['found']}, removed {place['removed']}, left {place['left']}"
        out.print(f"     {place['name']:12} {place['state']:15} {told if place['found'] else place['reason'] or told}")
    safe = "unharmed" if machine.neighbour_unharmed() else "[red]HARMED[/]"
    out.print(f"   looked again from outside: {machine.left()} names left, the neighbour's file is {safe}")
    if machine.left() or not machine.neighbour_unharmed() or any(row["status"] == "failed" for row in rows):
        raise Trouble(Code.INTERNAL, "the demonstration wipe did not do what it promises; please report this")


async def _done(out: Console, made: Stage, api: Api, ordered: Mapping[str, object]) -> Any:
    """Queue a command and follow it to its end, with a progress bar at a terminal."""
    row = await api.ask("POST", "/v1/commands", ordered)
    path = f"/v1/commands/{row['command_id']}"
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(str(ordered["kind"]), total=None)

        def ended(now: Any) -> bool:
            if now["progress"]:
                at = now["progress"]
                bar.update(task, description=at["step"], completed=at["done"], total=at["of"] or None)
            return now["state"] in {"succeeded", "partial", "failed", "refused", "expired"}

        row = await _until(lambda: api.ask("GET", path), ended, made, f"the {ordered['kind']}")
    if row["state"] in {"refused", "expired"} or row["outcome"] is None or row["code"]:
        raise Trouble(Code.INTERNAL, f"{ordered['kind']} ended as {row['state']}: {row['code']} {row['detail']}")
    return row


async def _until(ask: Callable[[], Any], good: Callable[[Any], bool], made: Stage, what: str) -> Any:
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        answer = await ask()
        if good(answer):
            return answer
        await asyncio.sleep(0.1)
    raise Trouble(Code.INTERNAL, f"{what} did not come within {PATIENCE_S:.0f} s\n{made.last_words('agent')}")


async def _answering(made: Stage, http: aiohttp.ClientSession, url: str) -> None:
    for _ in range(300):
        with contextlib.suppress(aiohttp.ClientError):
            async with http.get(url) as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise Trouble(Code.INTERNAL, f"the collector does not answer\n{made.last_words('collector')}")


def _provider() -> dict[str, object]:
    signed_up = "2026-01-01T00:00:00Z"
    return {"customer_id": "usr_provider", "email": "provider@example.com", "signup_date": signed_up}


def _reported(row: Any) -> bool:
    return row["health_indicators"] is not None and row["provider_agent_status"] == "online"


def _show_machine(out: Console, row: Any) -> None:
    facts = [row["cpu_model"], f"{row['ram_gb']} GB", row["gpu_model"], row["os"], row["network_bandwidth"]]
    disk = f"{row['disk_size_gb']} GB {row['disk_type'] or ''}".strip() if row["disk_size_gb"] else None
    out.print(f"   {row['hardware_id']}  {', '.join(one for one in (*facts[:2], disk, *facts[2:]) if one)}")
    out.print(f"[bold]3  Health[/]     {row['provider_agent_status']}; the first report:")
    for name, found in row["health_indicators"].items():
        if found["outcome"] != "measured":
            out.print(f"     {name:10} {found['outcome']}: {found.get('reason') or found.get('error')}")
            continue
        plain = [f"{key} {value}" for key, value in found["values"].items() if isinstance(value, int | float)]
        words = ", ".join(plain[:4]) or f"{len(found['values'])} readings"
        out.print(f"     {name:10} {words}")


def _show_benchmark(out: Console, row: Any) -> None:
    for name in ("cpu_score", "disk_write_mb_s", "disk_read_mb_s", "network_bandwidth_gbps"):
        value = row[name]
        out.print(f"     {name:22} {value:,.1f}" if value is not None else f"     {name:22} none: {_why(row, name)}")
    for flag in row["flags"]:
        out.print(f"     flagged: {flag['code']}: {flag['words']}")
    out.print(
        f"   {row['benchmark_id']}  {row['admin_verification_status']}, {row['assurance']}, {row['method_version']}"
    )


def _why(row: Any, figure: str) -> str:
    component = row["details"].get(figure.partition("_")[0], {})
    return f"{component.get('code')}: {component.get('reason')}"
