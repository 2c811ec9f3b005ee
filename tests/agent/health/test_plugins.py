"""A plug-in is one file; a wrong one is named."""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import agent.indicators
from agent.indicators import Indicator
from agent.plugins import load


@dataclass
class Thing:
    """What the plug-ins of these tests expose."""

    name: str


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Callable[..., ModuleType]]:
    sys.path.insert(0, str(tmp_path))

    def make(**files: str) -> ModuleType:
        folder = tmp_path / f"plugins_{tmp_path.name.replace('-', '_')}"
        folder.mkdir()
        (folder / "__init__.py").touch()
        for name, text in files.items():
            (folder / f"{name}.py").write_text("from types import SimpleNamespace\n" + text)
        importlib.invalidate_caches()
        return importlib.import_module(folder.name)

    yield make
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("plugins_")]:
        del sys.modules[name]


def test_every_file_s_value_is_found_in_the_order_of_names(package: Callable[..., ModuleType]) -> None:
    """Files that start with an underscore are the package's own."""
    plugins = package(
        beta="THING = SimpleNamespace(name='beta')", alpha="THING = SimpleNamespace(name='alpha')", _own="X = 1"
    )
    assert [one.name for one in load(plugins, "THING", object)] == ["alpha", "beta"]


def test_a_file_without_its_value_is_named(package: Callable[..., ModuleType]) -> None:
    """The error says which file lacks what."""
    with pytest.raises(TypeError, match=r"alpha must expose THING, a Thing; it has NoneType"):
        load(package(alpha="OTHER = 1"), "THING", Thing)


def test_a_value_of_another_kind_is_refused(package: Callable[..., ModuleType]) -> None:
    """Not found out later, in mid-report."""
    with pytest.raises(TypeError, match=r"a Thing; it has SimpleNamespace"):
        load(package(alpha="THING = SimpleNamespace(name='alpha')"), "THING", Thing)


def test_a_value_named_unlike_its_file_is_refused(package: Callable[..., ModuleType]) -> None:
    """One word for file, wire and row."""
    with pytest.raises(TypeError, match=r"named 'beta'; a plug-in is named like its file"):
        load(package(alpha="THING = SimpleNamespace(name='beta')"), "THING", object)


def test_the_indicators_are_found() -> None:
    """All of them, with sane times."""
    found = load(agent.indicators, "INDICATOR", Indicator)
    assert [one.name for one in found] == [
        "agent", "arrays", "cpu", "disks", "gpu", "kernel_log", "memory", "network", "processes", "smart", "system",
    ]  # fmt: skip
    assert all(0 < one.deadline_s <= 10 and one.interval_s >= 1 for one in found)
