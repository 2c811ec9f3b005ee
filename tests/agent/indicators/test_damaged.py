"""A file of a machine that holds something else than the kernel documents costs its own readings and nobody else's."""

import re
import shutil
from pathlib import Path

import msgspec
import pytest

import agent.indicators
from agent.health import read_one
from agent.host.recorded import RecordedHost
from agent.indicators import Indicator
from agent.plugins import load
from shared.messages import Failed, Indicators

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"
INDICATORS = load(agent.indicators, "INDICATOR", Indicator)
OWN = {"machine.json", "report.json"}

DAMAGES = {
    "empty": lambda text: "",
    "a blank line": lambda text: "\n",
    "its first half": lambda text: text[: len(text) // 2],
    "without its last characters": lambda text: text[:-3],
    "garbage": lambda text: "\x00\x01?? 0x -- :: ;; \ufffd\n" * 3,
    "every number a word": lambda text: re.sub(r"\d+", "many", text),
    "every number huge": lambda text: re.sub(r"\d+", "9" * 30, text),
    "every number negative": lambda text: re.sub(r"\d+", "-7", text),
    "its words without values": lambda text: "\n".join(line.split(" ")[0] + " " for line in text.splitlines()),
}

PYTHON_S = re.compile(
    r"\b[A-Z]\w*(Error|Exception|Warning)\b|Traceback|list index|subscript|NoneType|unpack|literal for"
)
"""What a programmer reads and a provider does not."""


class Traced(RecordedHost):
    """A recorded machine that remembers which files it was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: set[str] = set()

    def text(self, path: str) -> str:
        self.asked.add(path)
        return super().text(path)


def read_all(folder: Path, again: str = "") -> tuple[Indicators, dict[str, set[str]]]:
    """Return every indicator's outcome and the files it read; of those that read `again`, the second outcome."""
    outcomes, files = {}, {}
    for one in INDICATORS:
        host = Traced(folder)
        outcome, kept = read_one(one, host, None)
        if again in host.asked:
            outcome, _ = read_one(one, host, kept)
        outcomes[one.name] = msgspec.structs.replace(outcome, took_ms=0)
        files[one.name] = host.asked
    return outcomes, files


def cases() -> list[tuple[str, str]]:
    return [(folder.name, damage) for folder in sorted(RECORDINGS.iterdir()) if folder.is_dir() for damage in DAMAGES]


@pytest.mark.parametrize(("name", "damage"), cases())
def test_a_damaged_file_costs_its_own_readings_in_plain_words(tmp_path: Path, name: str, damage: str) -> None:
    """
    Each file of a recorded machine in turn: whoever did not read it says what it said before; who did has measured,
    finds nothing here, or fails with words a provider can use; and the collector can read the report.
    """
    folder = Path(shutil.copytree(RECORDINGS / name, tmp_path / name))
    before, _ = read_all(folder)
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in OWN):
        whole = file.read_text()
        file.write_text(DAMAGES[damage](whole))
        path = f"/{file.relative_to(folder)}"
        after, asked = read_all(folder, path)
        file.write_text(whole)
        for one, outcome in after.items():
            if path not in asked[one]:
                assert outcome == before[one], (path, one)
            if isinstance(outcome, Failed):
                assert len(outcome.error) > 10, (path, one)
                assert not PYTHON_S.search(outcome.error), (path, one, outcome.error)
        assert msgspec.json.decode(msgspec.json.encode(after), type=Indicators).keys() == before.keys(), path
