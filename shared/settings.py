"""One way to settings for both programs: file, then environment, then flags; and no setting is guessed."""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from shared.codes import Code, Trouble

S = TypeVar("S", bound=msgspec.Struct)


def text_of(read: Callable[[], str], path: object, *, named: bool) -> str:
    """
    Return a settings file's text, empty where there is none.

    Args:
        read: Reads it.
        path: What it is called, for the error.
        named: Whether the user named it: then it must exist.

    Raises:
        Trouble: `bad_configuration`.
    """
    try:
        return read()
    except FileNotFoundError as error:
        if named:
            raise Trouble(Code.BAD_CONFIGURATION, f"{path} does not exist") from error
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(Code.BAD_CONFIGURATION, f"{path}: {error}") from error


def settle(
    kind: type[S], *, file_text: str, environment: Mapping[str, str], prefix: str, flags: Mapping[str, Any]
) -> S:
    """
    Return the settings, the later source winning: TOML text, environment variables, command line flags.

    Args:
        kind: A flat Struct; its fields are the known settings.
        file_text: TOML; empty when there is no file.
        environment: All variables; those that start with `prefix` are ours, lower-cased after it.
        prefix: "RACKPROOF_AGENT_", say.
        flags: Values given on the command line; None means not given.

    Raises:
        Trouble: `bad_configuration`, naming the setting, and the nearest known one where it is unknown.
    """
    try:
        values: dict[str, Any] = tomllib.loads(file_text)
    except tomllib.TOMLDecodeError as error:
        raise Trouble(Code.BAD_CONFIGURATION, f"the configuration file is not TOML: {error}") from error
    values |= {name[len(prefix) :].lower(): text for name, text in environment.items() if name.startswith(prefix)}
    values |= {name: value for name, value in flags.items() if value is not None}
    known = kind.__struct_fields__
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise Trouble(Code.BAD_CONFIGURATION, f"unknown setting {name!r}", hint)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Trouble(Code.BAD_CONFIGURATION, str(error)) from error
