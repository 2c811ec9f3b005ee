"""
Disks: requests that failed, as the block layer says it, which is once each whatever the driver adds.

Source: Linux, block/blk-core.c, blk_errors[], and block/blk-mq.c, blk_print_req_error(); drivers/md/raid*.c for arrays.
"""

import re

from agent.matchers import Event, Matcher

_LINE = re.compile(
    r"(?:blk_update_request: |print_req_error: )?"
    r"(I/O|critical (?:medium|target|nexus)|recoverable transport|protection|device offline|kernel resource) "
    r"error, dev (?!fd\d|sr\d)([\w!.-]{1,32}), sector \d"
)
"""Not of drives without a medium. Not "operation not supported", which is an answer and no error."""

_LEFT_ARRAY = re.compile(r"md/raid\d*:(md[\w-]{1,28}): Disk failure on ([\w!.-]{1,32}), disabling device")


def match(text: str) -> Event | None:
    """Return the failed request in a line, or the disk that an array gave up."""
    if found := _LINE.match(text):
        return Event(reading="io_errors", words=f"{found[2]}: {found[1]} error", item=found[2])
    if left := _LEFT_ARRAY.match(text):
        return Event(reading="io_errors", words=f"{left[2]}: given up by array {left[1]}", item=left[2])
    return None


MATCHER = Matcher(
    name="disk_errors",
    match=match,
    describes={"io_errors": "by device: requests to a disk that failed, since boot"},
)
