"""Recorded machines, and copies of them that a test may change."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.host.recorded import RecordedHost
from tests.agent.indicators import nvml

RECORDINGS = Path(__file__).parents[2] / "host" / "recordings"


class Bench:
    """A copy of a recorded machine, to be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, path: str, text: str) -> None:
        """Replace or add a file."""
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def has(self, path: str, text: str) -> bool:
        """Whether a file holds this text."""
        file = self.folder / path.lstrip("/")
        return file.is_file() and file.read_text().strip() == text

    def remove(self, path: str) -> None:
        """Remove a file or a folder."""
        file = self.folder / path.lstrip("/")
        shutil.rmtree(file) if file.is_dir() else file.unlink()

    def answer(self, **answers: object) -> None:
        """Replace answers of machine.json."""
        file = self.folder / "machine.json"
        file.write_bytes(msgspec.json.encode({**msgspec.json.decode(file.read_bytes()), **answers}))

    def answers(self, name: str) -> dict[str, object]:
        """Return an answer of machine.json, to be changed and given back."""
        return msgspec.json.decode((self.folder / "machine.json").read_bytes()).get(name, {})

    @property
    def host(self) -> RecordedHost:
        """The machine as it is now."""
        return RecordedHost(self.folder)


@pytest.fixture
def recorded() -> Callable[[str], RecordedHost]:
    return lambda name: RecordedHost(RECORDINGS / name)


@pytest.fixture
def bench(tmp_path: Path) -> Callable[[str], Bench]:
    return lambda name: Bench(Path(shutil.copytree(RECORDINGS / name, tmp_path / name)))


@pytest.fixture(scope="session")
def library(missing: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-in for NVML."""
    folder = nvml.build(tmp_path_factory.mktemp("nvml"))
    if folder is None:
        missing("a C compiler (cc), to build the stand-in for NVML")
    return folder


@pytest.fixture
def control(tmp_path: Path) -> nvml.Control:
    """What goes wrong with NVML."""
    return nvml.Control(tmp_path / "control")
