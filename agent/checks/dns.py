"""DNS: whether the collector's name leads to an address."""

from agent import reaching
from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown


def judge(host: str, addresses: tuple[str, ...], error: str = "") -> Finding:
    """Judge what a name leads to."""
    if addresses:
        return fine(f"{host} is {', '.join(addresses[:4])}")
    remedy = f"see that {host} is spelt right and that this machine has a name server: getent hosts {host}"
    return problem("dns_failed", f"{host}: {error or 'no address'}", limit="an address", remedy=remedy)


def look(scene: Scene) -> Finding:
    """Look the collector's name up."""
    if not scene.origin:
        return unknown("no collector is known yet; --collector URL tries one")
    where = reaching.place(scene.origin)
    try:
        return judge(where.host, reaching.resolve(where))
    except OSError as error:
        return judge(where.host, (), error.strerror or str(error))


CHECK = Check(
    name="dns",
    title="name (DNS)",
    group=Group.COLLECTOR,
    look=look,
    codes={"dns_failed": "Without an address the collector cannot be reached, and the machine counts as offline."},
)
