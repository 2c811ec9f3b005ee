"""What every command that reads the settings has."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(command: F) -> F:
    """Add the options that every command which reads the settings takes."""
    for option in (
        click.option("--data-dir", metavar="DIR", help="Keys, and the embedded database and evidence."),
        click.option("--database", metavar="URL", help="sqlite:///PATH or postgresql://USER@HOST/NAME."),
        click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file (TOML)."),
    ):
        command = option(command)
    return command


def read(file: Path | None, **flags: Any) -> Any:
    """Return the settings for a command."""
    from collector.config import read_settings  # noqa: PLC0415 - `--help` must not wait for it

    return read_settings(file, os.environ, flags)
