"""Names that more than one distribution claims."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from benchbench.contract.offers import Kind
from benchbench.registry.discovery import Registered


@dataclass(frozen=True, kw_only=True)
class Clash:
    """One name that at least two plugins claim."""

    kind: Kind
    name: str
    claims: tuple[Registered, ...]

    @property
    def keeper(self) -> Registered | None:
        """The built-in claim, so that no plugin can replace a built-in component; otherwise None."""
        return next((claim for claim in self.claims if claim.built_in), None)

    @property
    def message(self) -> str:
        """The distributions that claim the name, and the outcome."""
        claimants = " and ".join(f"{claim.distribution} (plugin {claim.plugin})" for claim in self.claims)
        outcome = "the built-in one is used" if self.keeper else "neither can be used"
        return f"the {self.kind} {self.name!r} is offered by {claimants}: {outcome}"

    def blames(self, registered: Iterable[Registered]) -> bool:
        """Whether one of these offers loses its name by the clash."""
        return any(claim is not self.keeper and claim in self.claims for claim in registered)


def find_clashes(registered: Iterable[Registered]) -> tuple[Clash, ...]:
    """The names that are claimed more than once within a kind."""
    claims: dict[tuple[Kind, str], list[Registered]] = defaultdict(list)
    for entry in registered:
        claims[entry.kind, entry.offer.name].append(entry)
    return tuple(
        Clash(kind=kind, name=name, claims=tuple(entries))
        for (kind, name), entries in claims.items()
        if len(entries) > 1
    )
