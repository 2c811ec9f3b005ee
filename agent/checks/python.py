"""Python: whether its version is one that the agent is made for."""

import sys

from agent.checks import Check, Finding, Group, Scene, fine, problem

LEAST = (3, 11)
"""As in the package's `requires-python`."""


def judge(version: tuple[int, int]) -> Finding:
    """Judge a Python version."""
    value, limit = ".".join(map(str, version)), f"at least {LEAST[0]}.{LEAST[1]}"
    if version >= LEAST:
        return fine(value, limit)
    return problem("python_old", value, limit=limit, remedy="install the agent with a newer Python")


def look(_scene: Scene) -> Finding:
    """Look at the Python that runs this."""
    return judge(sys.version_info[:2])


CHECK = Check(
    name="python",
    title="Python version",
    group=Group.CONFIGURATION,
    look=look,
    codes={"python_old": "The agent uses what older versions do not have, and would break somewhere on its way."},
)
