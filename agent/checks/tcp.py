"""TCP: whether the way to the collector's port is open."""

import socket
import time

from agent import reaching
from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown

FIREWALL = "allow outgoing TCP to {port} on this machine's and its network's firewall; nothing needs to come in"


def judge(where: reaching.Place, outcome: float | OSError) -> Finding:
    """
    Judge a connection.

    Args:
        where: Where to.
        outcome: How long it took, ms, or what stood in the way.
    """
    value = f"{where.host} port {where.port}"
    match outcome:
        case float():
            return fine(f"{value} is open, {outcome:.0f} ms")
        case socket.gaierror():
            return unknown("not tried: the name has no address")
        case TimeoutError():
            words, limit = f"{value} does not answer", f"within {reaching.STEP_S:.0f} s"
            return problem("tcp_silent", words, limit=limit, remedy=FIREWALL.format(port=where.port))
        case ConnectionRefusedError():
            remedy = "ask the collector's operator whether it runs, and check the port of its address"
            return problem("tcp_refused", f"{value} refuses connections", limit="open", remedy=remedy)
    words = f"{value}: {outcome.strerror or outcome}"
    return problem("tcp_unreachable", words, limit="open", remedy="check this machine's network: ip route")


def look(scene: Scene) -> Finding:
    """Open a connection and close it."""
    if not scene.origin:
        return unknown("no collector is known yet")
    where = reaching.place(scene.origin)
    began_s = time.perf_counter()
    try:
        with reaching.connect(where):
            return judge(where, (time.perf_counter() - began_s) * 1000)
    except OSError as error:
        return judge(where, error)


CHECK = Check(
    name="tcp",
    title="port (TCP)",
    group=Group.COLLECTOR,
    look=look,
    rank=1,
    codes={
        "tcp_silent": "Something on the way swallows packets to the collector, so the machine counts as offline.",
        "tcp_refused": "Nobody listens at the collector's address, so the machine counts as offline.",
        "tcp_unreachable": "There is no way to the collector's network from here, so the machine counts as offline.",
    },
)
