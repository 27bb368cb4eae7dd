"""Attack a model again with fresh draws, and test whether more breaks than its row admits.

The row's own attack runs on a random sample of the examples that the model classifies correctly. For an honest row, an example
is as likely to break in the recorded attack alone as in this one alone. So, of the examples that break in one of them alone,
the number that breaks now is that of heads among as many fair coins, however much runs of the attack differ. A row is refuted
if such a number, or a larger one, occurs at most once in `HONEST_ROWS` honest rows: the exact one-sided test of McNemar (1947).
The same test finds rows whose adversarial images are the clean ones, although the attack moves them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchbench.atomic import write_atomically
from benchbench.cell.model import Cell
from benchbench.checking.evidence import Confirmation, Finding, Verdict, what_is_missing
from benchbench.checking.passes import answers, model_inputs
from benchbench.contract import Examples, derive_seed
from benchbench.data import Subset
from benchbench.errors import PLUGIN_FAULTS, ContractError
from benchbench.evaluation import Outcome, Subject, evaluate, evaluate_regression
from benchbench.kernels.determinism import deterministic
from benchbench.records.arrays import Array, write_arrays
from benchbench.records.outcomes import WITNESSES
from benchbench.registry import Registry

HONEST_ROWS = 100_000  # of which at most one is refuted by chance
FEWEST = math.ceil(math.log2(HONEST_ROWS))  # examples that must break now alone before a row is refuted
BUDGET, MOST = 3_000, 128  # queries and examples of each row's attack
SUSPICION, LONGER = 8, 10  # a row that only one in 8 honest rows resembles is attacked with 10 times as many queries
DOUBT = 1_000  # a row that only one in 1,000 honest rows resembles is not confirmed
LIMIT = 1_000_000  # queries after which an attack is given up: files may come from strangers
SEARCHED = 48  # examples, of which those after the first ones are searched, too
_FIRST = 16  # examples, which show how many queries one costs; searches of fewer say nothing


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A row that no evidence here contradicts."""

    cell: Cell
    model: nn.Module
    test: Subset
    classes: int | None  # None for a regression
    outcomes: Mapping[str, Array]
    witnesses: Array | None  # None if they are not here
    changed: str  # how the attack's code differs from that of the row; empty if it does not

    def harm(self, made: Sequence[Outcome], at: Array, device: torch.device) -> Array:
        """1 for an example that breaks (has a larger error) only now, -1 only in the record, else 0."""
        label = self.outcomes["label"][at]
        if self.classes is None:
            now = np.square(np.concatenate([answers(self.model, o.witnesses, device) for o in made]) - label)
            then = self.outcomes["adv_squared_error"][at]
        else:
            now = np.concatenate([o.per_example["adversarial_prediction"].numpy() for o in made]) != label
            then = self.outcomes["adversarial_prediction"][at] != label
        difference = now.astype(np.float64) - then
        return np.where(np.isclose(now, then, rtol=1e-5, atol=1e-8), 0, np.sign(difference))

    def motion(self, images: Array, at: Array) -> Array:
        """1 for an example that only the new attack moves, -1 only the recorded one, else 0."""
        if self.witnesses is None:
            return np.zeros(len(at), int)
        inputs = self.test.examples.inputs[torch.from_numpy(at)]
        clean = model_inputs(inputs, doubled=self.classes is None).numpy()
        now, then = ((one != clean).reshape(len(at), -1).any(axis=1) for one in (images, self.witnesses[at]))
        return np.asarray(now.astype(int) - then)


@dataclass(frozen=True, kw_only=True)
class FreshAttack:
    """Attacks rows again."""

    registry: Registry
    device: torch.device
    seed: int  # chooses the examples and keys the draws, together with the cell's id
    # budget: about how many queries a row may take; None for `BUDGET` or `FEWEST` examples, `LONGER` times for a suspect
    budget: int | None = None
    images: Path | None = None  # folder for the images that break more than recorded; None for nowhere

    def judge(self, verdict: Verdict, suspect: Suspect) -> Verdict:
        """Attack the model of a row without findings, and extend its verdict."""
        outcomes = suspect.outcomes
        possible = np.flatnonzero((outcomes["prediction"] == outcomes["label"]) | (suspect.classes is None))
        if not len(possible):
            return replace(verdict, remarks=("no example is classified correctly: there is nothing to attack",))
        draws = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "sample", verdict.cell_id)))
        order = draws.permutation(possible)
        try:
            with _limited(suspect.model, max(LIMIT, self.budget or 0)):
                made = self._attack_in_parts(suspect, order)
            at = order[: sum(len(outcome.witnesses) for outcome in made)]
            harm, images = suspect.harm(made, at, self.device), _images(made)
        except PLUGIN_FAULTS as error:  # plugins may raise anything
            why = f"its attack could not be made again: {what_is_missing(error, suspect.cell)}"
            return replace(verdict, status="unchecked", missing=(*verdict.missing, why))
        verdict = replace(self._extended(verdict, suspect, made, at[harm > 0]), sampled=_indices(suspect, at))
        if self.images is not None and verdict.broken:
            columns = {name: outcomes[name][at[harm > 0]] for name in ("index", "label")}
            columns[WITNESSES] = images[harm > 0]
            write_atomically(self.images / f"{suspect.cell.cell_id}.parquet", lambda path: write_arrays(path, columns))
        motion, enough = suspect.motion(images, at), len(at) >= min(FEWEST, len(order))
        findings = []
        if is_excess(harm, HONEST_ROWS):
            findings.append(Finding(what="its own attack breaks more than it admits", examples=verdict.broken))
        if is_excess(motion, HONEST_ROWS):
            what = "its adversarial images are the clean ones, which its own attack moves"
            findings.append(Finding(what=what, examples=_indices(suspect, at[motion > 0])))
        return _decided(verdict, harm, tuple(findings), suspect.changed, enough=enough)

    def _attack_in_parts(self, suspect: Suspect, order: Array) -> list[Outcome]:
        """Attack a few examples, then as many as the budget allows; more if the row is suspicious."""
        made = [self._attack(suspect, order[:_FIRST], diagnosed=False)]
        allowed = (self.budget or BUDGET) * _FIRST // max(made[0].queries["test_forward"], 1)
        if self.budget is None:
            allowed = min(max(allowed, FEWEST), MOST)
        looked_into, others = order[_FIRST : min(SEARCHED, allowed)], order[SEARCHED:allowed]
        made += [self._attack(suspect, looked_into, diagnosed=len(looked_into) >= _FIRST)] if len(looked_into) else []
        made += [self._attack(suspect, others, diagnosed=False)] if len(others) else []
        at = order[: max(_FIRST, allowed)]
        signs = (suspect.harm(made, at, self.device), suspect.motion(_images(made), at))
        rest = order[len(at) : max(LONGER * allowed, 4 * _FIRST)]
        if self.budget is None and len(rest) and any(is_excess(sign, SUSPICION) for sign in signs):
            made.append(self._attack(suspect, rest, diagnosed=False))
        return made

    def _attack(self, suspect: Suspect, at: Array, *, diagnosed: bool) -> Outcome:
        spec, rows = suspect.cell.evaluation, suspect.test.indices[at]
        inputs, labels = suspect.test.examples.inputs[at], suspect.test.examples.labels[at]
        subject: Subject = {
            "model": suspect.model,
            "train": Examples(inputs=inputs[:1], labels=labels[:1]),  # required, but not looked at
            "test": Examples(inputs=inputs, labels=labels),
            "threat": spec.threat,
            "attack": self.registry.make("attack", spec.attack),
            "attack_name": spec.attack.name,
            "seed": derive_seed(self.seed, "attack again", suspect.cell.cell_id, int(at[0])),
            "device": self.device,
            "columns": None,
        }
        with deterministic(self.device):
            if suspect.classes is None:
                return evaluate_regression(**subject, metrics={})
            return evaluate(
                **subject,
                metrics={},
                train_rows=rows[:1],
                test_rows=rows,
                classes=suspect.classes,
                precision=spec.precision,
                diagnosed=diagnosed,
                hurried=True,
            )

    def _extended(self, verdict: Verdict, suspect: Suspect, made: Sequence[Outcome], worse: Array) -> Verdict:
        index, share = suspect.outcomes["index"], None
        if suspect.classes is not None:
            label, names = suspect.outcomes["label"], ("prediction", "adversarial_prediction")
            wrong = np.any([suspect.outcomes[name] != label for name in names], axis=0)
            new = np.concatenate([index[worse], *(outcome.searched.numpy() for outcome in made)])
            share = float(np.mean(wrong | np.isin(index, new)))
        return replace(
            verdict,
            seed=self.seed,
            queries=sum(outcome.queries["test_forward"] for outcome in made),
            broken=_indices(suspect, worse),
            flags=next((outcome.flags for outcome in made if outcome.flags), ()),
            broken_share=share,
        )


def is_excess(signs: Array, honest_rows: int) -> bool:
    """Whether at most one honest row of this number has such a surplus of 1 over -1 in `signs`."""
    more, both = int((signs > 0).sum()), int((signs != 0).sum())
    return honest_rows * sum(math.comb(both, k) for k in range(more, both + 1)) <= 1 << both


def _decided(verdict: Verdict, harm: Array, findings: tuple[Finding, ...], changed: str, *, enough: bool) -> Verdict:
    doubt = ""
    if findings and changed:
        doubt = f"{findings[0]}; but the attack's code here is another: {changed}"
    elif not findings and is_excess(harm, DOUBT):
        doubt = "its own attack breaks more now, but too few examples to refute it"
    elif not enough:
        doubt = "the budget allows too few examples to refute it"
    remark = (
        f"attacked again with seed {verdict.seed}, {verdict.queries:,} queries: of {len(harm):,} examples "
        f"{np.sum(harm > 0)} break only now, {np.sum(harm < 0)} broke only then"
    )
    kept, missing = () if doubt else findings, (*verdict.missing, *filter(None, [doubt]))
    status: Confirmation = "refuted" if kept else "unchecked" if missing else verdict.status
    return replace(verdict, status=status, findings=kept, missing=missing, remarks=(*verdict.remarks, remark))


def _images(made: Sequence[Outcome]) -> Array:
    return np.concatenate([outcome.witnesses.numpy() for outcome in made])


def _indices(suspect: Suspect, at: Array) -> tuple[int, ...]:
    """Dataset indices, in order."""
    return tuple(np.sort(suspect.outcomes["index"][at]).tolist())


@contextmanager
def _limited(model: nn.Module, limit: int) -> Iterator[None]:
    """Within the block, raise `ContractError` once a model gets more queries than the limit."""
    queries = 0

    def count(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal queries
        queries += len(given[0])
        if queries > limit:
            raise ContractError(f"it makes more than {limit:,} queries")

    with model.register_forward_pre_hook(count):
        yield
