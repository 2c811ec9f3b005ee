"""iperf3: whether it is there, where the provider chose it to measure bandwidth."""

import shutil

from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown


def judge(tool: str, path: str | None, server: str) -> Finding:
    """
    Judge what measures the network.

    Args:
        tool: `network_tool` of the settings.
        path: Where iperf3 is; None where it is not.
        server: `iperf3_server` of the settings.
    """
    if tool != "iperf3":
        return unknown("not needed: the platform's measuring server is used")
    limit = "installed, with a server"
    if path is None:
        remedy = 'sudo apt install iperf3 (or dnf install iperf3), or set network_tool = "rackproof"'
        return problem("iperf3_absent", "not installed", limit=limit, remedy=remedy)
    if not server:
        remedy = 'set iperf3_server = "HOST:PORT", or network_tool = "rackproof"'
        return problem("iperf3_serverless", "no server is named", limit=limit, remedy=remedy)
    return fine(f"{path}, to {server}", limit)


def look(scene: Scene) -> Finding:
    """Look for iperf3."""
    return judge(scene.settings.network_tool, shutil.which("iperf3"), scene.settings.iperf3_server)


CHECK = Check(
    name="iperf3",
    title="iperf3",
    group=Group.BENCHMARKS,
    look=look,
    codes={
        "iperf3_absent": "The settings ask for iperf3, so the network cannot be measured without it.",
        "iperf3_serverless": "The settings ask for iperf3, which measures nothing without a server.",
    },
)
