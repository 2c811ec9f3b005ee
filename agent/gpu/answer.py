"""
What the probe says, line by line: pure.

```
driver  VERSION
gpu     INDEX  UUID or "index N"  MODEL  PCI ADDRESS
value   INDEX  NAME  NUMBER
error   INDEX  WORDS
refused CODE   WORDS           instead of all that, when NVML as a whole does not work
end
```

Tabs stand between the words of a line.
"""

from collections.abc import Mapping

from msgspec import Struct

from agent.gpu.nvml import COUNTER, NO_LIBRARY, NOT_LOADED
from agent.host import Gpu


class Named(Struct, frozen=True):
    """Who a GPU is; what of it is known outlives the GPU's own voice."""

    uuid: str
    model: str = ""
    pci_address: str = ""


class Refusal(Struct, frozen=True):
    """NVML does not work as a whole."""

    code: int
    words: str

    @property
    def without_driver(self) -> bool:
        """Whether the driver or its library is missing."""
        return self.code in {NOT_LOADED, NO_LIBRARY}


class UnreadableError(ValueError):
    """A line is none of the probe's."""


class Answer:
    """An answer that is being given."""

    def __init__(self) -> None:
        self.driver = ""
        self.refusal: Refusal | None = None
        self.ended = False
        self.named: dict[int, Named] = {}
        self._values: dict[int, dict[str, int | float | str | bool]] = {}
        self._errors: dict[int, str] = {}

    def take(self, line: str) -> None:
        """
        Take the next line.

        Raises:
            UnreadableError: it is not one of the probe's.
        """
        try:
            match line.split("\t"):
                case ["driver", version]:
                    self.driver = version
                case ["gpu", index, uuid, model, address]:
                    self.named[int(index)] = Named(uuid, model, address)
                case ["value", index, name, value]:
                    self._values.setdefault(int(index), {})[name] = _scalar(value)
                case ["error", index, *words]:
                    self._errors.setdefault(int(index), " ".join(words))
                case ["refused", code, *words]:
                    self.refusal = Refusal(int(code), " ".join(words))
                case ["end"]:
                    self.ended = True
                case _:
                    raise UnreadableError(line)
        except ValueError as error:
            raise UnreadableError(line[:100]) from error

    def gpus(self, known: Mapping[int, Named], errors: Mapping[str, str]) -> tuple[Gpu, ...]:
        """
        Return the GPUs of this answer.

        Args:
            known: Who they are by earlier answers, for those that no longer tell.
            errors: What is known to be wrong by UUID or "index N"; a GPU's own words come first.
        """
        return tuple(self._gpu(index, named, known, errors) for index, named in sorted(self.named.items()))

    def _gpu(self, index: int, named: Named, known: Mapping[int, Named], errors: Mapping[str, str]) -> Gpu:
        who = known.get(index, named) if named.uuid == f"index {index}" else named
        values = self._values.get(index, {})
        return Gpu(
            uuid=who.uuid,
            model=who.model,
            pci_address=who.pci_address,
            error=self._errors.get(index) or errors.get(named.uuid) or errors.get(f"index {index}") or "",
            readings={name: value for name, value in values.items() if not name.endswith(COUNTER)},
            counters={name: float(value) for name, value in values.items() if name.endswith(COUNTER)},
        )


def _scalar(text: str) -> int | float | bool:
    if text in {"True", "False"}:
        return text == "True"
    return int(text) if text.lstrip("-").isdigit() else float(text)
