"""Attack a model again with fresh draws, and test whether more breaks than its row admits.

The row's own attack runs on a random sample of the examples that the model classifies correctly. For an honest row, an example
is as likely to break in the recorded attack alone as in this one alone. So, of the examples that break in one of them alone,
the number that breaks now is that of heads among as many fair coins, however much runs of the attack differ. A row is refuted
if such a number, or a larger one, occurs at most once in `HONEST_ROWS` honest rows: the exact one-sided test of McNemar (1947).
The same test finds rows whose adversarial images are the clean ones, although the attack moves them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchbench.atomic import write_atomically
from benchbench.cell.model import Cell
from benchbench.checking.evidence import Finding, Verdict
from benchbench.checking.passes import answers, model_inputs
from benchbench.contract import Examples, derive_seed
from benchbench.data import Subset
from benchbench.errors import StorageError
from benchbench.evaluation import Outcome, Subject, evaluate, evaluate_regression
from benchbench.kernels.determinism import deterministic
from benchbench.records.arrays import Array, write_arrays
from benchbench.records.outcomes import WITNESSES
from benchbench.registry import Registry

HONEST_ROWS = 100_000  # of which at most one is refuted by chance
FEWEST = math.ceil(math.log2(HONEST_ROWS))  # examples that must break now alone before a row is refuted
BUDGET, MOST = 5_000, 256  # queries and examples of each row's attack
SUSPICION, LONGER = 8, 10  # of a row that only one in 8 honest rows resembles, 10 times as many queries are spent
DOUBT = 1_000  # a row that only one in 1,000 honest rows resembles is not confirmed
_FIRST = 16  # examples, which show how many queries one costs; searches of fewer say nothing


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A row whose evidence agrees with its model."""

    cell: Cell
    model: nn.Module
    test: Subset
    classes: int | None  # None for a regression
    outcomes: Mapping[str, Array]
    witnesses: Array
    changed: str  # how the attack's code differs from that of the row; empty if it does not

    def harms(self, positions: Array, outcome: Outcome, device: torch.device) -> tuple[Array, Array]:
        """Squared errors under attack, or 1 for a wrong class and 0 for the right one: now and as recorded, (n,)."""
        label = self.outcomes["label"][positions]
        if self.classes is None:
            now = np.square(answers(self.model, outcome.witnesses, device) - label)
            return now, np.asarray(self.outcomes["adv_squared_error"][positions])
        both = (
            outcome.per_example["adversarial_prediction"].numpy(),
            self.outcomes["adversarial_prediction"][positions],
        )
        return np.asarray(both[0] != label, np.float64), np.asarray(both[1] != label, np.float64)

    def moved(self, images: Array, positions: Array) -> Array:
        """Whether images differ from the clean ones at some positions, bool (n,)."""
        inputs = self.test.examples.inputs[torch.from_numpy(positions)]
        clean = model_inputs(inputs, doubled=self.classes is None).numpy()
        return np.asarray((images != clean).reshape(len(images), -1).any(axis=1))


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What an attack did to some examples.

    Attributes:
        positions: of the examples among the test examples.
        images: its candidates.
        harm: for each example, 1 if it breaks now but not in the record, or has a larger error; -1 for the reverse; else 0.
        motion: 1 if its image differs from the clean one now but not in the record; -1 for the reverse; else 0.
        searched: rows of the examples that the searches of the diagnostics broke.
    """

    positions: Array
    images: Array
    harm: Array
    motion: Array
    searched: Array
    flags: tuple[str, ...]
    queries: int

    def __add__(self, other: Attempt) -> Attempt:
        arrays = ("positions", "images", "harm", "motion", "searched")
        return Attempt(
            **{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in arrays},
            flags=self.flags or other.flags,
            queries=self.queries + other.queries,
        )


@dataclass(frozen=True, kw_only=True)
class FreshAttack:
    """Attacks rows again.

    Attributes:
        seed: chooses the examples and keys the draws, together with the cell's id.
        budget: about how many queries each row's attack may make, estimated from its first 16 examples; None for `BUDGET`
            or what `FEWEST` examples cost, and `LONGER` times as many for a suspicious row.
        images: folder for the images that break more than recorded; None for nowhere.
    """

    registry: Registry
    device: torch.device
    seed: int
    budget: int | None = None
    images: Path | None = None

    def judge(self, verdict: Verdict, suspect: Suspect) -> Verdict:
        """Attack the model of a confirmed row, and extend its verdict."""
        outcomes = suspect.outcomes
        possible = np.flatnonzero((outcomes["prediction"] == outcomes["label"]) | (suspect.classes is None))
        if not len(possible):
            return replace(verdict, remarks=("no example is classified correctly: there is nothing to attack",))
        draws = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "sample", verdict.cell_id)))
        order = draws.permutation(possible)
        try:
            attempt = self._attack_in_parts(suspect, order)
            return self._extended(verdict, suspect, attempt, enough=len(attempt.positions) >= min(FEWEST, len(order)))
        except StorageError:  # the images cannot be written
            raise
        except Exception as error:  # plugins may raise anything
            why = f"its attack could not be made again: {' '.join(str(error).split())[:300]}"
            return replace(verdict, status="unchecked", missing=(why,))

    def _attack_in_parts(self, suspect: Suspect, order: Array) -> Attempt:
        """Attack a few examples, then as many as the budget allows; more if the row is suspicious.

        A row is refuted by all parts together. That it must be suspicious before only makes this rarer.
        """
        made = self._attack(suspect, order[:_FIRST], diagnosed=False)
        allowed = (self.budget or BUDGET) * _FIRST // max(made.queries, 1)
        if self.budget is None:
            allowed = min(max(allowed, FEWEST), MOST)
        if len(rest := order[_FIRST:allowed]):
            made += self._attack(suspect, rest, diagnosed=len(rest) >= _FIRST)
        suspicious = is_excess(made.harm, SUSPICION) or is_excess(made.motion, SUSPICION)
        rest = order[len(made.positions) : max(LONGER * allowed, 4 * _FIRST)]
        if self.budget is None and suspicious and len(rest):
            made += self._attack(suspect, rest, diagnosed=False)
        return made

    def _attack(self, suspect: Suspect, positions: Array, *, diagnosed: bool) -> Attempt:
        spec, chosen, test = suspect.cell.evaluation, torch.from_numpy(positions), suspect.test
        examples = Examples(inputs=test.examples.inputs[chosen], labels=test.examples.labels[chosen])
        subject: Subject = {
            "model": suspect.model,
            "train": Examples(inputs=examples.inputs[:1], labels=examples.labels[:1]),  # required, but not looked at
            "test": examples,
            "threat": spec.threat,
            "attack": self.registry.make("attack", spec.attack),
            "attack_name": spec.attack.name,
            "seed": derive_seed(self.seed, "attack again", suspect.cell.cell_id, int(positions[0])),
            "device": self.device,
            "columns": None,
        }
        rows, classes = test.indices[chosen], suspect.classes
        with deterministic(self.device):
            if classes is None:
                outcome = evaluate_regression(**subject, metrics={})
            else:
                known = {"train_rows": rows[:1], "test_rows": rows}
                precision = spec.precision
                outcome = evaluate(
                    **subject, **known, metrics={}, classes=classes, precision=precision, diagnosed=diagnosed
                )
        now, then = suspect.harms(positions, outcome, self.device)
        images, recorded = outcome.witnesses.numpy(), suspect.witnesses[positions]
        motion = suspect.moved(images, positions).astype(int) - suspect.moved(recorded, positions)
        return Attempt(
            positions=positions,
            images=images,
            harm=np.where(np.isclose(now, then, rtol=1e-5, atol=1e-8), 0, np.sign(now - then)),
            motion=motion,
            searched=outcome.searched.numpy(),
            flags=outcome.flags,
            queries=outcome.queries["test_forward"],
        )

    def _extended(self, verdict: Verdict, suspect: Suspect, made: Attempt, *, enough: bool) -> Verdict:
        recorded, worse = suspect.outcomes, made.positions[made.harm > 0]
        index, label = recorded["index"], recorded["label"]
        if self.images is not None and len(worse):
            columns = {"index": index[worse], "label": label[worse], WITNESSES: made.images[made.harm > 0]}
            write_atomically(self.images / f"{suspect.cell.cell_id}.parquet", lambda path: write_arrays(path, columns))
        share = None
        if suspect.classes is not None:
            wrong = (recorded["prediction"] != label) | (recorded["adversarial_prediction"] != label)
            share = float(np.mean(wrong | np.isin(index, np.concatenate([index[worse], made.searched]))))
        extended = replace(
            verdict,
            seed=self.seed,
            queries=made.queries,
            sampled=tuple(index[made.positions].tolist()),
            broken=tuple(np.sort(index[worse]).tolist()),
            flags=made.flags,
            broken_share=share,
        )
        return _decided(extended, made, suspect.changed, enough=enough)


def is_excess(signs: Array, honest_rows: int) -> bool:
    """Whether at most one in so many honest rows has such a surplus of 1 over -1 in `signs`, int (n,)."""
    more, fewer = int((signs > 0).sum()), int((signs < 0).sum())
    tail = sum(math.comb(more + fewer, k) for k in range(more, more + fewer + 1))
    return honest_rows * tail <= 2 ** (more + fewer)


def _decided(verdict: Verdict, made: Attempt, changed: str, *, enough: bool) -> Verdict:
    n, sampled = len(made.positions), np.asarray(verdict.sampled)
    claims = {
        "its own attack with fresh draws breaks more than it admits": made.harm,
        "its adversarial images are the clean ones, which its own attack moves": made.motion,
    }
    findings = tuple(
        Finding(what=what, examples=tuple(np.sort(sampled[signs > 0]).tolist()))
        for what, signs in claims.items()
        if is_excess(signs, HONEST_ROWS)
    )
    missing = ""
    if findings and changed:
        missing = f"{findings[0]}; but the attack's code here is another: {changed}"
    elif not findings and is_excess(made.harm, DOUBT):
        missing = "its own attack breaks more now, but too few examples to refute it"
    elif not enough:
        missing = f"the budget allows only {n} examples to be attacked again, too few to refute it"
    remark = (
        f"attacked again with seed {verdict.seed}, {made.queries:,} queries: of {n:,} examples "
        f"{np.sum(made.harm > 0)} break that did not, {np.sum(made.harm < 0)} do not that did"
    )
    return replace(
        verdict,
        status="unchecked" if missing else "refuted" if findings else verdict.status,
        findings=() if missing else findings,
        missing=(missing,) if missing else (),
        remarks=(remark,),
    )
