"""Live changes over REST: what is told, to whom, and what becomes of those who cannot keep up."""

import asyncio
import json

import pytest

from collector.api.stream import MOST_OF_ONE
from collector.compose import utc_now
from collector.feed import Change, ChangeKind


class Listener:
    """Reads server-sent events."""

    def __init__(self, response) -> None:
        self.response = response

    async def event(self, limit_s: float = 30) -> dict[str, str]:
        fields: dict[str, str] = {}
        async with asyncio.timeout(limit_s):
            while line := (await self.response.content.readline()).decode():
                if line == "\n" and "event" in fields:
                    return fields
                name, _, value = line.rstrip("\n").partition(": ")
                fields |= {name: value} if name else {}
        return fields


@pytest.fixture
async def listen(served, feed):
    """Open a stream; gives its reader."""
    opened = []

    async def begin(query: str = "", of: str = "auditor", **headers) -> Listener:
        response = await served(of).open(f"/v1/stream{query}", **headers)
        opened.append(response)
        if response.status == 200:
            await response.content.readline()
        return Listener(response)

    yield begin
    feed.end()
    for response in opened:
        response.close()


def change(number: int, kind: ChangeKind = ChangeKind.PRESENCE) -> Change:
    return Change(kind=kind, at=utc_now(), hardware_id=f"hw_{number}", body={"number": number})


async def test_a_change_comes_as_an_event(listen, feed):
    """With its kind as the event's name, an id, and what is new."""
    listener = await listen()
    assert listener.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    feed.publish(change(1))
    event = await listener.event()
    assert event["event"] == "presence"
    assert event["id"].endswith("-1")
    assert json.loads(event["data"])["body"] == {"number": 1}


async def test_a_stream_tells_only_what_is_asked_for(listen, feed):
    """By kind and by machine."""
    listener = await listen("?kind=presence&hardware_id=hw_2")
    for one in (change(1), change(2, ChangeKind.HEALTH), change(2)):
        feed.publish(one)
    assert (await listener.event())["id"].endswith("-3")


async def test_who_comes_back_learns_whether_something_was_missed(listen, feed):
    """With the newest id nothing was; with another, or one of another process, everything is to be read anew."""
    feed.publish(change(1))
    first = await listen()
    feed.publish(change(2))
    last = (await first.event())["id"]
    again = await listen(**{"Last-Event-ID": last})
    feed.publish(change(3))
    assert (await again.event())["event"] == "presence"
    late = await listen(**{"Last-Event-ID": last})
    assert (await late.event())["event"] == "resync"


async def test_who_cannot_keep_up_is_told_to_read_anew(listen, feed):
    """The queue is bounded: all that waits becomes one resync."""
    listener = await listen()
    for number in range(1_500):
        feed.publish(change(number))
    while (event := await listener.event())["event"] != "resync":
        pass
    assert event["event"] == "resync"


async def test_a_provider_hears_of_his_own_machines_only(listen, feed):
    """Of others' he learns not even that something changed."""
    theirs, others = await listen(of="usr_1"), await listen(of="usr_buyer")
    feed.publish(change(1))
    assert (await theirs.event())["event"] == "presence"
    with pytest.raises(TimeoutError):
        await others.event(limit_s=0.5)


async def test_streams_end_when_the_collector_stops(listen, feed):
    """At once, so that they do not hold it up."""
    listener = await listen()
    feed.end()
    assert await listener.event() in ({}, {"": ""}) or listener.response.content.at_eof()


async def test_a_stream_needs_a_token(served):
    """Like everything else."""
    response = await served("auditor").open("/v1/stream", Authorization="Bearer rps_x.y")
    assert response.status == 401


async def test_the_number_of_streams_is_bounded(listen, feed):
    """The next one is told to come later; nobody takes the places of others, and a closed one is free again."""
    for of in ("usr_1", "auditor"):
        opened = [await listen(of=of) for _ in range(MOST_OF_ONE)]
        assert {one.response.status for one in opened} == {200}
        refused = (await listen(of=of)).response
        assert (refused.status, (await refused.json())["code"]) == (429, "slow_down")
        assert refused.headers["Retry-After"] == "5"
        assert (await listen(of="usr_buyer")).response.status == 200
    opened[0].response.close()
    await asyncio.sleep(0.2)
    feed.publish(change(1))
    await asyncio.sleep(0.2)
    assert (await listen()).response.status == 200
