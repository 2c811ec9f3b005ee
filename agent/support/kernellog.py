"""The kernel log without what programs wrote, and without messages that report nothing. Pure."""

import re

from agent.host.kernel import parse_record
from agent.indicators.kernel_log import event_of
from agent.support.redaction import Kind, Redactor

LEFT_OUT = "left out"
"""In the place of a message's text: its number stays, as a gap would count as lost."""

_NAMES = (
    (re.compile(r"(\btask )[^\n]{1,64}?(:\d+ )"), r"\1-\2"),
    (re.compile(r"(\bKilled process \d+ )\([^\n]*?\)(?=,| |$)"), r"\1(-)"),
    (re.compile(r"(\b(?:name|task|comm|exe|task_memcg|oom_memcg)=)[^,\s]*"), r"\1-"),
    (re.compile(r"(\b[Cc]omm:? )\S+"), r"\1-"),
    (re.compile(r"\[[^\]\n]{1,64}(:\d+\])"), r"[-\1"),
)
"""Where the kernel names a process, which a tenant may have called anything."""


def without_names(records: str, redactor: Redactor) -> str:
    """Return records of /dev/kmsg: those that are counted, without names; of the others number and time."""
    return "".join(f"{line}\n" for record in records.splitlines() if (line := _record(record, redactor)))


def _record(record: str, redactor: Redactor) -> str | None:
    message = parse_record(record)
    if message is None:
        return None
    head = record.partition(";")[0]
    event = event_of(message.text) if message.facility == 0 else None
    text = redactor.text(_unnamed(message.text))
    if event is None or event_of(text) != event:
        redactor.left_out(Kind.MESSAGE, record)
        return f"{head};{LEFT_OUT}"
    return f"{head};{text}"


def _unnamed(text: str) -> str:
    for pattern, instead in _NAMES:
        text = pattern.sub(instead, text)
    return text
