"""
What this machine's sshd says when the tenant's public keys are offered to it: before, after their removal, at the end.

A second look at what `keys` does, which knows nothing of files: whatever sshd takes keys from counts. It may refuse for
other reasons too, so a refusal alone proves nothing; that it let a key in before, and no longer does, proves something.
"""

from collections.abc import Iterator

from agent.wiper.steps import CLEAN, NOT_APPLICABLE, RESIDUE, Erased, Found, Item, Looked, Subject, Tell
from agent.wiper.tenant import sshd


class Sshd:
    """The keys of the grant, offered to sshd."""

    name = "sshd"

    def __init__(self, subject: Subject) -> None:
        self._simulated = subject.ground.simulated
        self._tenant = subject.tenant
        self._answers: list[bool] | None = None

    def find(self) -> Found:
        """Count the keys that it would let in."""
        self._answers = self._ask()
        return Found(sum(self._answers or ()))

    def erase(self, tell: Tell) -> Erased:  # noqa: ARG002 - the protocol's
        """Take nothing away, but put on record what was answered."""
        answers = self._answers
        return Erased(0, () if answers is None else (f"{sum(answers)} of {len(answers)} keys would be let in",))

    def verify(self) -> Looked:
        """Offer them again."""
        answers = self._ask()
        if answers is None:
            return Looked(NOT_APPLICABLE, reason="no sshd runs that could be asked, or no key was granted")
        if any(answers):
            return Looked(RESIDUE, sum(answers), f"sshd would let {sum(answers)} of {len(answers)} keys in")
        return Looked(CLEAN)

    def _ask(self) -> list[bool] | None:
        return None if self._simulated else sshd.accepts(self._tenant.name, self._tenant.key_blobs)

    def list(self) -> Iterator[Item]:
        """Give nothing: it keeps no keys of its own, and being asked would stand in its log."""
        return iter(())
