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
BUDGET, MOST = 40_000, 256  # queries and examples of each row's attack
_FIRST = 16  # examples, which show how many queries one costs


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

    def recorded_harm(self) -> Array:
        """For each example, the squared error under attack; of a classifier, 1 if its class is wrong then, else 0."""
        if self.classes is None:
            return np.asarray(self.outcomes["adv_squared_error"])
        return np.asarray(self.outcomes["adversarial_prediction"] != self.outcomes["label"], np.float64)

    def harm_now(self, outcome: Outcome, device: torch.device) -> Array:
        """The same for the examples of an outcome."""
        label = outcome.per_example["label"].numpy()
        if self.classes is None:
            return np.square(answers(self.model, outcome.witnesses, device) - label)
        return np.asarray(outcome.per_example["adversarial_prediction"].numpy() != label, np.float64)

    def moved(self, images: Array, positions: Array) -> Array:
        """Whether images differ from the clean ones at some positions, bool."""
        inputs = self.test.examples.inputs[torch.from_numpy(positions)]
        clean = model_inputs(inputs, doubled=self.classes is None).numpy()
        return np.asarray((images != clean).reshape(len(images), -1).any(axis=1))


@dataclass(frozen=True, kw_only=True)
class FreshAttack:
    """Attacks rows again.

    Attributes:
        seed: chooses the examples and keys the draws, together with the cell's id.
        budget: about how many queries each row's attack may make, estimated from its first 16 examples; None for `BUDGET`,
            or more where `FEWEST` examples cost more.
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
        order = draws.permutation(possible)[: MOST if self.budget is None else None]
        try:
            made = [self._attack(suspect, order[:_FIRST])]
            allowed = (self.budget or BUDGET) * _FIRST // max(made[0].queries["test_forward"], 1)
            rest = order[_FIRST : max(allowed, FEWEST if self.budget is None else 0)]
            made += [self._attack(suspect, rest)] if len(rest) else []
            sampled = order[: _FIRST + len(rest)]
            return self._compare(verdict, suspect, sampled, made, enough=len(sampled) >= min(FEWEST, len(possible)))
        except StorageError:  # the images cannot be written
            raise
        except Exception as error:  # plugins may raise anything
            why = f"its attack could not be made again: {' '.join(str(error).split())[:300]}"
            return replace(verdict, status="unchecked", missing=(why,))

    def _attack(self, suspect: Suspect, positions: Array) -> Outcome:
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
                return evaluate_regression(**subject, metrics={})
            return evaluate(
                **subject, metrics={}, train_rows=rows[:1], test_rows=rows, classes=classes, precision=spec.precision
            )

    def _compare(
        self, verdict: Verdict, suspect: Suspect, sampled: Array, made: list[Outcome], *, enough: bool
    ) -> Verdict:
        recorded, index, then = suspect.outcomes, suspect.outcomes["index"], suspect.recorded_harm()
        now = np.concatenate([suspect.harm_now(outcome, self.device) for outcome in made])
        images = np.concatenate([outcome.witnesses.numpy() for outcome in made])
        close = np.isclose(now, then[sampled], rtol=1e-5, atol=1e-8)
        worse, better = (now > then[sampled]) & ~close, (now < then[sampled]) & ~close
        if self.images is not None and worse.any():
            columns = {name: recorded[name][sampled[worse]] for name in ("index", "label")} | {WITNESSES: images[worse]}
            write_atomically(self.images / f"{suspect.cell.cell_id}.parquet", lambda path: write_arrays(path, columns))
        new = np.concatenate([index[sampled[worse]], *(outcome.searched.numpy() for outcome in made)])
        wrong = np.isin(index, new) | (then > 0)
        share = float(np.mean(wrong | (recorded["prediction"] != recorded["label"])))
        moved, before = suspect.moved(images, sampled), suspect.moved(suspect.witnesses[sampled], sampled)
        extended = replace(
            verdict,
            seed=self.seed,
            queries=sum(outcome.queries["test_forward"] for outcome in made),
            sampled=tuple(index[sampled].tolist()),
            broken=tuple(sorted(index[sampled[worse]].tolist())),
            flags=made[-1].flags if len(sampled) > 2 * _FIRST else (),  # shares of fewer say nothing
            broken_share=None if suspect.classes is None else share,
        )
        return _decide(extended, suspect.changed, (worse, better), (moved & ~before, before & ~moved), enough=enough)


def is_excess(more: Array, fewer: Array) -> bool:
    """Whether an honest row is unlikely to have so many examples in `more` and so few in `fewer`, bool (N,)."""
    count, of = int(more.sum()), int(more.sum() + fewer.sum())
    return HONEST_ROWS * sum(math.comb(of, k) for k in range(count, of + 1)) <= 2**of


def _decide(
    verdict: Verdict, changed: str, broken: tuple[Array, Array], moved: tuple[Array, Array], *, enough: bool
) -> Verdict:
    n, (worse, better) = len(verdict.sampled), (int(side.sum()) for side in broken)
    findings, missing = [], ""
    if is_excess(*broken):
        findings.append(Finding(what="its own attack breaks more than it admits", examples=verdict.broken))
    if is_excess(*moved):
        unmoved = tuple(np.sort(np.asarray(verdict.sampled)[moved[0]]).tolist())
        findings.append(
            Finding(what="its adversarial images are the clean ones, which its attack moves", examples=unmoved)
        )
    if findings and changed:
        missing = f"{findings[0]}; but the attack's code here is another: {changed}"
    elif not enough or (n < FEWEST and worse > better):
        missing = f"{n} examples were attacked again, too few to refute the row"
    return replace(
        verdict,
        status="unchecked" if missing else "refuted" if findings else verdict.status,
        findings=() if missing else tuple(findings),
        missing=(missing,) if missing else (),
        remarks=(
            f"attacked again with seed {verdict.seed}, {verdict.queries:,} queries: of {n:,} examples {worse:,} break that "
            f"did not, {better:,} do not that did",
        ),
    )
