"""Certificates against attacks: contradictions are refused, answered flags cleared."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from benchbench.errors import ContractError
from benchbench.evaluation.diagnostics import ANSWER_SIGNS, TOLERATED
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.measuring import Measured

_ROUNDING = 1e-2  # relative and absolute: of ratios that float32 computed


def check_certificates(measured: Measured, evidence: ModelEvidence, searched: Tensor | None) -> None:
    """Refuse certificates that an attack refutes, or a search of the diagnostics.

    A ContractError names the metric that certifies, the attack, and the first example.
    """
    rows, columns = evidence.trial.splits["test"].rows.cpu(), measured.per_example
    attack = f"attack {evidence.trial.attack_name!r}"
    if "certified" in columns:
        certified, name = columns["certified"].cpu().bool(), measured.metrics["certified"]
        broken = torch.zeros_like(certified) if searched is None else torch.isin(rows, searched.cpu())
        for what, fooled in ((attack, ~evidence.robust("test")), ("a search of the diagnostics", broken)):
            if bool((certified & fooled).any()):
                row = int(rows[certified & fooled][0])
                raise ContractError(
                    f"metric {name!r}: it certifies test example {row}, but {what} fools the model there"
                )
    found, upper = columns.get("lipschitz_best"), columns.get("lipschitz_upper")
    if found is not None and upper is not None:
        above = found.cpu().double() > upper.cpu().double() * (1 + _ROUNDING) + _ROUNDING
        if bool(above.any()):
            names = [measured.metrics[column] for column in ("lipschitz_upper", "lipschitz_best")]
            row = int(rows[above][0])
            raise ContractError(
                f"metric {names[0]!r}: its bound at test example {row} is below what {names[1]!r} found"
            )


def unanswered(flags: Collection[str], per_example: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The flags without those that a certificate answers, sorted.

    If the certified examples and those that the attack fooled leave at most a twentieth of the correct ones, no better attack
    can lower the accuracy by more than that. Flags that say that the model is no function of its input stay.
    """
    certified = per_example.get("certified")
    if certified is not None:
        left = per_example["robust"].bool() & ~certified.bool()
        if int(left.sum()) <= TOLERATED * int(per_example["correct"].sum()):
            flags = ANSWER_SIGNS.keys() & {*flags}
    return tuple(sorted(flags))
