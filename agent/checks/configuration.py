"""Configuration: whether the settings can be read, and who could change them."""

import stat

from agent.checks import Check, Finding, Group, Scene, fine, problem
from shared.codes import Trouble


def judge(file: str, mode: int | None, unreadable: Trouble | None) -> Finding:
    """
    Judge the settings.

    Args:
        file: Where they are read from.
        mode: The file's mode; None where there is none.
        unreadable: What is wrong with them.
    """
    if unreadable is not None:
        remedy = unreadable.remedy or f"correct {file}, the flags or the variables RACKPROOF_AGENT_*"
        return problem("configuration_bad", unreadable.detail, remedy=remedy)
    if mode is None:
        return fine(f"defaults; there is no {file}")
    limit = "only its owner can write it"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return problem(
            "configuration_open", f"{file} has mode {mode & 0o7777:o}", limit=limit, remedy=f"chmod go-w {file}"
        )
    return fine(file, limit)


def look(scene: Scene) -> Finding:
    """Look at the settings file."""
    try:
        mode = scene.file.stat().st_mode
    except OSError:
        mode = None  # whoever named one that is not there has been told by reading it
    return judge(str(scene.file), mode, scene.unreadable)


CHECK = Check(
    name="configuration",
    title="settings",
    group=Group.CONFIGURATION,
    look=look,
    codes={
        "configuration_bad": "The agent does not start with these settings; the lines below are about the defaults.",
        "configuration_open": "Whoever can write the settings can send the agent to another collector's authority.",
    },
)
