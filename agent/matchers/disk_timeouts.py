"""
Disks that did not answer in time, or whose controller had to be reset.

Source: Linux, drivers/nvme/host/pci.c, nvme_timeout() and nvme_warn_reset(); drivers/ata/libata-eh.c,
ata_eh_link_report(); drivers/scsi/scsi_error.c and sd.c; block/blk-core.c.
"""

import re

from agent.matchers import Event, Matcher

_LINES = (
    re.compile(
        r"nvme (nvme\d{1,4}): I/O (?:tag )?\d{1,6} (?:\([0-9a-f]{1,8}\) )?(?:opcode [^\n]{1,60} )?QID \d{1,5} timeout"
    ),
    re.compile(r"nvme (nvme\d{1,4}): controller is down; will reset"),
    re.compile(r"(ata\d{1,3}(?:\.\d\d)?): exception Emask 0x"),
    re.compile(r"sd [\d:]{7,24}: \[(sd[a-z]{1,4})\] tag#\d{1,6} timing out command, waited"),
    re.compile(r"(?:blk_update_request: |print_req_error: )?timeout error, dev ([\w!.-]{1,32}), sector \d"),
)


def match(text: str) -> Event | None:
    """Return the device that did not answer, as far as a line says so."""
    for line in _LINES:
        if found := line.match(text):
            return Event(reading="disk_timeouts", words=f"{found[1]}: did not answer in time", item=found[1])
    return None


MATCHER = Matcher(
    name="disk_timeouts",
    match=match,
    describes={"disk_timeouts": "by device or port: requests to a disk that were not answered in time, since boot"},
)
