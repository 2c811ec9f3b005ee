"""Plug-ins: a package is scanned for files that expose one value each; there is no list to edit."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def load(package: ModuleType, attribute: str, kind: type[T]) -> tuple[T, ...]:
    """
    Return the one value of every file in a package, in the order of their names.

    Args:
        package: A package whose files are all plug-ins; files that start with "_" are not.
        attribute: What each file calls its value, such as "INDICATOR".
        kind: What the value must be; it has a `name`, and that is the file's.

    Raises:
        TypeError: a file has no such value, one of another kind, or one named unlike the file.
    """
    return tuple(_value(f"{package.__name__}.{name}", attribute, kind) for name in _file_names(package))


def _file_names(package: ModuleType) -> list[str]:
    """Return the names of a package's files; `set` because a folder may stand on the package's path twice."""
    files = {file.stem for folder in package.__path__ for file in Path(folder).glob("*.py")}
    return sorted(name for name in files if not name.startswith("_"))


def _value(module_name: str, attribute: str, kind: type[T]) -> T:
    """Return one file's value, checked."""
    value = getattr(import_module(module_name), attribute, None)
    if not isinstance(value, kind):
        raise TypeError(f"{module_name} must expose {attribute}, a {kind.__name__}; it has {type(value).__name__}")
    name = getattr(value, "name", None)
    if name != module_name.rpartition(".")[2]:
        raise TypeError(f"{module_name}.{attribute} is named {name!r}; a plug-in is named like its file")
    return value
