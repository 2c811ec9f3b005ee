"""User: whether whoever asks may see all that these checks look at."""

from agent.checks import Check, Finding, Group, Scene, fine, unknown


def judge(*, root: bool) -> Finding:
    """Judge who asks."""
    if root:
        return fine("root")
    return unknown("not root: the state, the wiper and some sensors stay hidden; sudo shows them")


def look(scene: Scene) -> Finding:
    """Look at who asks."""
    return judge(root=scene.root)


CHECK = Check(name="user", title="who asks", group=Group.CONFIGURATION, look=look)
