"""What an agent is told of its reports, whether it reads or not."""

import asyncio

from collector.links.acknowledging import Acknowledging
from shared.messages import Ack
from tests.collector.known import NOW
from tests.collector.recorded import a_report


async def test_who_does_not_read_is_owed_one_acknowledgement():
    """Ten thousand reports committed meanwhile cost neither a task nor a message each."""
    reads, sent = asyncio.Event(), []

    async def send(message) -> None:
        await reads.wait()
        sent.append(message)

    acknowledging, before = Acknowledging(send), len(asyncio.all_tasks())
    for seq in range(1, 10_001):
        acknowledging.committed(a_report(seq, NOW))
        if seq % 1_000 == 0:
            await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before + 1
    reads.set()
    await asyncio.sleep(0.01)
    assert sent == [Ack(up_to_seq=1_000), Ack(up_to_seq=10_000)]
    acknowledging.committed(a_report(10_000, NOW))
    await asyncio.sleep(0.01)
    assert sent[-1:] == [Ack(up_to_seq=10_000)]
    assert len(sent) == 3


async def test_a_link_that_is_gone_needs_none():
    """The agent asks again by its next link; this one's next report is tried all the same."""

    async def send(_message) -> None:
        raise ConnectionResetError

    acknowledging = Acknowledging(send)
    for seq in (1, 2):
        acknowledging.committed(a_report(seq, NOW))
        await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) == 1
