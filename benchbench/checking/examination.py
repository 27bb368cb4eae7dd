"""What the examination of a row finds, and the verdict that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchbench.checking.evidence import Finding, Replay, Verdict, proven, withstood
from benchbench.checking.fresh_attack import Suspect
from benchbench.checking.proofs import claims_of
from benchbench.records import Row
from benchbench.records.arrays import Array


@dataclass(kw_only=True)
class Examination:
    """What the examination of one row found so far."""

    findings: list[Finding] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)  # see `Proof.unless`
    outcomes: dict[str, Array] | None = None
    replay: Replay | None = None
    suspect: Suspect | None = None
    remarks: list[str] = field(default_factory=list)

    def verdict(self, row: Row) -> Verdict:
        """The verdict before a new attack."""
        outcomes, replay = self.outcomes, self.replay
        bound, replayed, shown = None, 0 if replay is None or replay.clean is None else len(replay.index), ""
        if outcomes is not None and replay is not None and not self.findings:
            bound = withstood(outcomes, replay)
            shown = proven(outcomes, bound) if replay.attacked is not None else ""
        return Verdict(
            cell_id=row.cell_id,
            status="refuted" if self.findings else "unchecked" if self.missing else "confirmed",
            findings=tuple(self.findings),
            missing=tuple(self.missing),
            claimed=claims_of(row, self.checked),
            changed=tuple(f"{name}: {difference}" for name, difference in self.changed.items()),
            replayed=replayed,
            bound=bound,
            proven=shown,
            remarks=tuple(self.remarks),
        )
