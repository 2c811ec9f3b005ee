"""Policy: what this machine's provider allows the platform to order here."""

from pathlib import Path

from agent.checks import Check, Finding, Group, Scene, advice, fine, problem, unknown
from agent.wiper import policy
from shared.codes import Trouble
from shared.documents import PRIVILEGED_KINDS


def judge(file: str, found: policy.Policy | Trouble, *, there: bool) -> Finding:
    """
    Judge a policy.

    Args:
        file: Where it is.
        found: The policy in force, or why it cannot be read.
        there: Whether there is such a file.
    """
    if isinstance(found, Trouble):
        remedy = (
            found.remedy or f"correct {file}: owned by root, written by nobody else, only keys of deploy/policy.toml"
        )
        return problem("policy_bad", found.detail, limit="readable, root's", remedy=remedy)
    if found.dry_run:
        remedy = f"set dry_run = false in {file} when you have tried the rest"
        return advice("policy_dry_run", "dry_run: no wipe is carried out", limit="wipes are carried out", remedy=remedy)
    if left_out := sorted(PRIVILEGED_KINDS - set(found.kinds)):
        value = f"refused here: {', '.join(left_out)}"
        return advice(
            "policy_narrow", value, limit="every kind", remedy=f"add them to kinds in {file}, if you want them"
        )
    return fine(file if there else f"defaults; there is no {file}", "readable, root's")


def look(scene: Scene) -> Finding:
    """Read the policy as the wiper does."""
    if scene.settings.sandbox_dir:
        return unknown("a simulated machine has none")
    file = Path(scene.settings.policy_file)
    try:
        found: policy.Policy | Trouble = policy.load(file)
    except Trouble as trouble:
        if isinstance(trouble.__cause__, PermissionError):
            return unknown("only root may look")
        found = trouble
    return judge(str(file), found, there=file.exists())


CHECK = Check(
    name="policy",
    title="policy",
    group=Group.WIPER,
    look=look,
    codes={
        "policy_bad": "The wiper does nothing without a policy that it can trust, so the machine cannot be let.",
        "policy_dry_run": "After a tenant this machine stays unclean, and is not let again.",
        "policy_narrow": "The platform orders these for every tenant; a machine that refuses them is not let.",
    },
)
