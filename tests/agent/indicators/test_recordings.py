"""Every recorded machine gives the report kept beside it."""

import os
from pathlib import Path

import msgspec
import pytest

import agent.indicators
from agent.health import read_one
from agent.host.recorded import RecordedHost
from agent.indicators import Indicator
from agent.inventory import facts, hardware_id
from agent.plugins import load
from shared.messages import MAX_MESSAGE_BYTES, Indicators

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"
NAMES = sorted(folder.name for folder in RECORDINGS.iterdir() if folder.is_dir())
INDICATORS = load(agent.indicators, "INDICATOR", Indicator)


def outcomes(host: RecordedHost) -> Indicators:
    read = {one.name: read_one(one, host, None)[0] for one in INDICATORS}
    return {name: msgspec.structs.replace(outcome, took_ms=0) for name, outcome in read.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_machine_gives_the_report_kept_beside_it(name: str) -> None:
    """Facts, hardware id and every reading are as they were when the report was last looked at."""
    host = RecordedHost(RECORDINGS / name)
    report = {"facts": facts(host), "hardware_id": hardware_id(host), "indicators": outcomes(host)}
    made = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    kept = RECORDINGS / name / "report.json"
    if os.environ.get("RACKPROOF_WRITE_REPORTS"):
        kept.write_bytes(made)
    assert made.decode() == kept.read_text()


def test_a_plain_machine_s_report_stays_below_6_kb() -> None:
    """What is sent every 15 seconds is small."""
    assert len(msgspec.json.encode(outcomes(RecordedHost(RECORDINGS / "plain-vm")))) < 6_000


def test_a_gpu_server_s_report_fits_a_message_many_times() -> None:
    """Eight GPUs, three disks and four file systems take less than a quarter of the largest frame."""
    assert len(msgspec.json.encode(outcomes(RecordedHost(RECORDINGS / "gpu-server")))) < MAX_MESSAGE_BYTES / 4


@pytest.mark.parametrize("name", NAMES)
def test_every_reading_is_described_and_readable_on_the_other_end(name: str) -> None:
    """No key is sent that the reference does not explain, and the collector's decoder takes all of it."""
    found = outcomes(RecordedHost(RECORDINGS / name))
    for indicator in INDICATORS:
        assert set(getattr(found[indicator.name], "values", {})) <= set(indicator.describes), indicator.name
    assert msgspec.json.decode(msgspec.json.encode(found), type=Indicators) == found
