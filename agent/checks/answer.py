"""Answer: whether what listens at the collector's address is one, and well."""

import http.client
import socket
import ssl

from agent import reaching
from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown
from shared.codes import Trouble


def judge(where: reaching.Place, outcome: reaching.Answered | Exception) -> Finding:
    """
    Judge an answer.

    Args:
        where: Who was asked.
        outcome: What came, or why nothing came.
    """
    limit = "200 from /healthz"
    match outcome:
        case reaching.Answered(status=200):
            return fine(f"alive, {outcome.took_ms:.0f} ms", limit)
        case reaching.Answered(status=status) if status >= 500:
            remedy = "the collector's operator has to look; the agent keeps its reports and tries again by itself"
            return problem("collector_unwell", f"{where.host} answers HTTP {status}", limit=limit, remedy=remedy)
        case reaching.Answered(status=status):
            remedy = "check the address: another program, or a proxy's page, answers there"
            return problem("collector_strange", f"{where.host} answers HTTP {status}", limit=limit, remedy=remedy)
        case TimeoutError():
            value = f"{where.host} takes the connection and says nothing"
            remedy = "the collector's operator has to look: it, or what stands before it, hangs"
            return problem("collector_silent", value, limit=f"within {reaching.STEP_S:.0f} s", remedy=remedy)
        case http.client.HTTPException():
            remedy = "check the port of the address, and whether it is https://"
            return problem("collector_strange", f"{where.host} does not speak HTTP", limit=limit, remedy=remedy)
        case ConnectionRefusedError() | socket.gaierror() | ssl.SSLError() | Trouble():
            return unknown("not tried: no connection")
    remedy = "check the address, and whether it is https://"
    return problem("collector_strange", f"{where.host} hung up: {outcome}", limit=limit, remedy=remedy)


def look(scene: Scene) -> Finding:
    """Ask the collector whether it is alive."""
    if not scene.origin:
        return unknown("no collector is known yet")
    where = reaching.place(scene.origin)
    try:
        return judge(where, reaching.ask(where, scene.settings.ca_file))
    except (OSError, http.client.HTTPException, Trouble) as error:
        return judge(where, error)


CHECK = Check(
    name="answer",
    title="answer (HTTP)",
    group=Group.COLLECTOR,
    look=look,
    rank=3,
    deadline_s=15.0,
    codes={
        "collector_unwell": "The collector runs and cannot work; the machine counts as offline until it can.",
        "collector_strange": "What listens there is no collector, so the machine counts as offline.",
        "collector_silent": "The collector is reached and does not answer, so the machine counts as offline.",
    },
)
