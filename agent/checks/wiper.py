"""Wiper: whether the agent can reach the one program that may touch accounts."""

import os
import stat
from pathlib import Path

from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown

ENABLE = "sudo systemctl enable --now rackproof-wiper.socket"


def judge(socket: str, mode: int | None, *, usable: bool, root: bool) -> Finding:
    """
    Judge the way to the wiper.

    Args:
        socket: Where it listens; empty where the agent starts it.
        mode: What is there, as a mode; None where nothing is.
        usable: Whether we may connect.
        root: Whether we are root.
    """
    if not socket:
        if root:
            return fine("started by the agent; root may do what it does")
        return unknown("started by the agent; whether that one is root, which it must be, is not told from here")
    limit = "a socket that the agent's user may use"
    if mode is None:
        return problem("wiper_absent", f"there is no {socket}", limit=limit, remedy=ENABLE)
    if not stat.S_ISSOCK(mode):
        remedy = f"move {socket} away, then: {ENABLE}"
        return problem("wiper_absent", f"{socket} is no socket", limit=limit, remedy=remedy)
    if not usable:
        return unknown(f"{socket} is there; this user may not use it, only root and the agent's")
    return fine(socket, limit)


def look(scene: Scene) -> Finding:
    """Look at the socket; connecting would start a wiper."""
    socket = scene.settings.wiper_socket
    mode = None
    if socket:
        try:
            mode = Path(socket).stat().st_mode
        except PermissionError:
            return unknown("only root and the agent's user may look")
        except OSError:
            mode = None
    return judge(socket, mode, usable=bool(socket) and os.access(socket, os.W_OK), root=scene.root)


CHECK = Check(
    name="wiper",
    title="wiper",
    group=Group.WIPER,
    look=look,
    codes={"wiper_absent": "Nobody can be given access, and nothing can be wiped: the machine cannot be let."},
)
