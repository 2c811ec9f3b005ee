"""Presence as it is seen from outside: real agents that are killed, stopped and restarted, and changes as they come."""

import asyncio
import json
import time
from datetime import datetime

import aiohttp
import pytest

from tests.system.harness import wait_for


def shown(collector, agent) -> dict:
    return collector.ask("GET", f"/v1/machines/{agent.hardware_id}/presence")


def causes(collector, agent) -> list[str]:
    return [one["cause"] for one in reversed(shown(collector, agent)["items"])]


async def next_change(collector, hardware_id: str, heard: asyncio.Queue) -> None:
    """Put every change of presence of a machine, with the moment at which it came."""
    headers = {"Authorization": f"Bearer {collector.token}"}
    url = f"{collector.origin}/v1/stream?kind=presence&hardware_id={hardware_id}"
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        assert response.status == 200
        await heard.put(None)
        async for line in response.content:
            if line.startswith(b"data: "):
                await heard.put((time.time(), json.loads(line.removeprefix(b"data: "))))


@pytest.mark.slow
def test_restarts_are_told_apart_and_are_no_outages(own_agent, own_collector):
    """Killed or stopped and back in time, the ledger has a restart; a restart of the collector leaves no trace in it."""
    agent, collector = own_agent, own_collector
    wait_for(lambda: causes(collector, agent) == ["first_report"], 20, "the first report")
    agent.kill()
    agent.start()
    wait_for(lambda: causes(collector, agent)[1:] == ["agent_restarted"], 30, "the restart to be told")
    words = shown(collector, agent)["items"][0]["words"]
    assert words.startswith("the connection ended without a goodbye; back after "), words
    agent.stop()
    agent.start()
    wait_for(lambda: causes(collector, agent)[2:] == ["agent_restarted"], 30, "the planned restart to be told")
    words = shown(collector, agent)["items"][0]["words"]
    assert words.startswith("the agent stops; back after "), words

    before, begun = shown(collector, agent)["now"], time.time()
    assert collector.stop() == 0
    time.sleep(2)
    collector.start()
    collector.await_ready()
    ready = time.time()
    wait_for(
        lambda: shown(collector, agent)["now"]["last_received_at"] > before["last_received_at"],
        30,
        "the agent to return",
    )
    after = shown(collector, agent)
    assert [one["cause"] for one in after["items"]][::-1] == ["first_report", "agent_restarted", "agent_restarted"]
    assert after["now"]["presence_since"] == before["presence_since"]
    (absence,) = after["away"]
    from_s, to_s = (datetime.fromisoformat(absence[name]).timestamp() for name in ("start_at", "end_at"))
    # Where the collector cannot write its end any more, it ends with the newest report.
    assert begun - 2 < from_s < from_s + 2 < to_s < ready
    uptime = collector.ask("GET", f"/v1/machines/{agent.hardware_id}/uptime")["total"]
    assert uptime["offline_s"] == 0
    assert abs(after["now"]["clock_skew_ms"]) < 2_000


@pytest.mark.slow
def test_a_stopped_agent_is_told_on_the_stream_with_its_goodbye(own_agent, own_collector):
    """Stale, then offline since the goodbye, with the cause; a client hears of it as it is committed."""
    agent, collector = own_agent, own_collector

    async def listen() -> list:
        heard: asyncio.Queue = asyncio.Queue()
        task = asyncio.create_task(next_change(collector, agent.hardware_id, heard))
        try:
            async with asyncio.timeout(150):
                await heard.get()
                begun = time.time()
                assert await asyncio.to_thread(agent.stop) == 0
                return [(begun, time.time()), await heard.get(), await heard.get()]
        finally:
            task.cancel()

    (begun, stopped), (_, stale), (came, gone) = asyncio.run(listen())
    assert (stale["body"]["to_state"], stale["body"]["entered"]) == ("stale", False)
    change = gone["body"]
    assert (change["from_state"], change["to_state"], change["cause"]) == ("online", "offline", "stopped")
    assert begun <= datetime.fromisoformat(change["at"]).timestamp() <= stopped
    assert came - datetime.fromisoformat(change["told_at"]).timestamp() < 3
    (entry, *_) = shown(collector, agent)["items"]
    assert (entry["cause"], entry["at"]) == ("stopped", change["at"])
    assert collector.ask("GET", "/v1/fleet")["summary"]["presence"]["offline"] == 1


@pytest.mark.slow
def test_a_revoked_machine_is_offline_at_once(own_agent, own_collector):
    """The cause names who did it."""
    agent, collector = own_agent, own_collector
    collector.ask("POST", f"/v1/machines/{agent.hardware_id}/revoke")
    wait_for(lambda: causes(collector, agent)[-1] == "revoked", 5, "the revocation to be told")
    entry = shown(collector, agent)["items"][0]
    assert (entry["to_state"], "revoked by tests" in entry["words"]) == ("offline", True)


@pytest.mark.slow
def test_an_open_stream_does_not_hold_up_a_stop(own_collector):
    """The collector ends its streams itself."""

    async def stop() -> float:
        heard: asyncio.Queue = asyncio.Queue()
        task = asyncio.create_task(next_change(own_collector, "hw_1", heard))
        await heard.get()
        begun = time.monotonic()
        assert await asyncio.to_thread(own_collector.stop) == 0
        took = time.monotonic() - begun
        await task
        return took

    assert asyncio.run(stop()) < 5
