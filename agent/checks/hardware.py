"""Hardware: whether something identifies this machine, and whether it is still the one that was enrolled."""

from agent import identity, inventory
from agent.checks import Check, Finding, Group, Scene, advice, fine, problem, unknown
from shared.codes import Code, Trouble


def judge(found: str | Trouble, enrolled: str | None, *, root: bool) -> Finding:
    """
    Judge the hardware's id.

    Args:
        found: The id as it would be made now, or that there is none.
        enrolled: The id that enrollment pinned; None where there is none, or it may not be read.
        root: Whether every source of the id could be read.
    """
    if isinstance(found, Trouble):
        return problem("hardware_nameless", found.detail, remedy=found.remedy)
    if not root:
        return unknown("only root may read the board's ids")
    if enrolled is None:
        return fine(f"{found} if it were enrolled now")
    if found == enrolled:
        return fine(f"{found}, as enrolled")
    return advice(
        "hardware_changed",
        f"{found} now",
        limit=f"{enrolled}, as enrolled",
        remedy="nothing where a part was replaced or a GPU lost; on a copied disk remove the state and enroll again",
    )


def look(scene: Scene) -> Finding:
    """Make the hardware's id anew and read the pinned one."""
    try:
        found: str | Trouble = inventory.hardware_id(scene.host)
    except Trouble as trouble:
        found = trouble
    return judge(found, _enrolled(scene), root=scene.root)


def _enrolled(scene: Scene) -> str | None:
    try:
        return identity.load(scene.settings.pinned_file).hardware_id
    except Trouble as trouble:
        if trouble.code in {Code.NOT_ENROLLED, Code.STATE_UNWRITABLE, Code.STATE_CORRUPT}:
            return None  # the check of the enrollment says so
        raise


CHECK = Check(
    name="hardware",
    title="hardware id",
    group=Group.IDENTITY,
    look=look,
    # It asks for the GPUs too, which may have to be started first.
    deadline_s=35.0,
    codes={
        "hardware_nameless": "Without an id of its own a machine cannot be told from another one, and is not enrolled.",
        "hardware_changed": "The machine keeps its name; but a disk that was copied to another machine looks the same.",
    },
)
