"""Try to refute a claimed robust accuracy by attacks that escalate, and keep the witnesses.

Of a fixed sample of test examples, at least as many withstand any number of attacks as are robust. If the claim is true, the
robust ones follow a binomial distribution with at least the claimed share. So the claim is refuted once so small a number has a
probability of at most `LEVEL`: an exact one-sided test. A random model is judged by a new draw for each candidate, asked
alone, since one draw may serve a whole batch: so the verdicts are independent, and each is right with the mean over draws.
Every attempt attacks all examples of a random model again, and the test is of all attempts together (Bonferroni).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchbench.arguments import checked
from benchbench.atomic import refuse_folder, write_atomically
from benchbench.contract import Examples, KeyedGenerator, Threat, as_model_input, derive_seed, uniform_start
from benchbench.contract.threat import Norm
from benchbench.data import LoadedDataset, load_dataset
from benchbench.errors import PLUGIN_FAULTS, UsageError
from benchbench.evaluation import evaluate as evaluate_cell
from benchbench.evaluation.probes import train_substitute
from benchbench.evaluation.subject import borrowed, in_best_layout
from benchbench.evaluation.supervision import check_candidates, leaving
from benchbench.events import Listener, ignore
from benchbench.kernels.arithmetic import searching
from benchbench.kernels.determinism import deterministic, own_draws
from benchbench.own_model.escalation import Attempt, attempts
from benchbench.own_model.evaluating import chosen_threat, device_of, evaluate_on
from benchbench.own_model.guests import Classifier, adapt, default_float32
from benchbench.own_model.planting import count_found
from benchbench.own_model.questions import Questions
from benchbench.own_model.report import RANDOM, AuditReport, Tried
from benchbench.own_model.setup import SOFTMAX, TRAINING
from benchbench.records.arrays import write_arrays
from benchbench.records.outcomes import WITNESSES
from benchbench.registry import load_registry
from benchbench.registry.lookup import ComponentEntry, find_component
from benchbench.settings import AnyPath, check_writable, find_device, find_folders
from benchbench.stopping import Stopped, StopRequest, parse_duration

FIRST = "pgd-10"  # the first attack, which the diagnostics follow
_CHUNK, _COPIES, _UNIT_TESTED, _CALLS = 128, 4, 10, 16


@checked
@default_float32()
def audit(
    model: Classifier,
    *,
    accuracy: float,
    dataset: ComponentEntry | tuple[str, LoadedDataset],
    threat: Threat | Mapping[str, object] | None = None,
    norm: Norm | None = None,
    epsilon: float | str | None = None,
    budget: str | float = "2m",
    n_test: int = 500,
    seed: int = 0,
    images: AnyPath | None = None,
    device: str | torch.device | None = None,
    data: AnyPath | None = None,
    download: bool = False,
    listener: Listener = ignore,
) -> AuditReport:
    """Try to refute a claimed robust accuracy; other arguments are those of `evaluate`.

    Args:
        accuracy: the claim, a fraction above 0 and at most 1.
        dataset: a name, a mapping of ``name`` and options, or a name and loaded data.
        budget: seconds, or a duration; all attacks after the first one and its diagnostics stop then.
        n_test: test examples to attack; take fewer if the model is slow.
        images: where to write the images that are not robust, also wrong clean ones: index, label and image, in Parquet.

    Raises:
        UsageError: an accuracy out of range or an unknown name; or the set-up is wrong, so that nothing can be judged.
        MissingDataError: the data are missing.
        ContractError: the model broke its contract.
    """
    if not 0 < accuracy <= 1:
        raise UsageError(f"the claimed accuracy must be above 0 and at most 1, got {accuracy:g}", hint="0.62 is 62%")
    seconds = parse_duration(budget) if isinstance(budget, str) else budget
    if not seconds > 0:
        raise UsageError(f"the budget must be above 0 seconds, got {seconds:g}", hint='for instance 90 or "2m"')
    if images is not None:  # now, not after all attacks
        refuse_folder(Path(images))
        check_writable(Path(images).parent)
    began, stop = time.monotonic(), StopRequest(seconds, reserved=True)
    registry = load_registry()
    if isinstance(dataset, tuple):
        name, loaded = dataset
    else:
        component = find_component(registry, "dataset", dataset)
        name = component.name
        loaded = load_dataset(registry, component, find_folders(data=data).source(download=download))
    where = find_device(device) if device is not None else device_of(model)
    first = evaluate_on(
        model,
        name,
        loaded,
        Questions(
            threats=(chosen_threat(registry, name, threat, norm, epsilon),),
            attacks=(find_component(registry, "attack", FIRST),),
            n_test=n_test,
            seed=seed,
        ),
        registry=registry,
        device=where,
        listener=listener,
    )
    if mistakes := [mistake for mistake in first.setup if mistake.kind not in (SOFTMAX, TRAINING)]:
        raise UsageError(f"nothing can be judged, the set-up is wrong: {mistakes[0]}")
    (attack,) = first.attacks.values()
    right, robust = first.prediction == first.label, attack.robust
    broken, seconds = int((right & ~robust).sum()), time.monotonic() - began
    report = AuditReport(
        first=first,
        flags=attack.flags,
        claimed=accuracy,
        tried=(Tried(attack=FIRST, examples=int(right.sum()), broken=broken, seconds=seconds),),
        left=(),
        robust=robust,
        witnesses=attack.witnesses,
    )
    guest = adapt(model, as_model_input(loaded.splits.test.inputs[:2].to(where)), classes=len(loaded.splits.classes))
    with deterministic(where), own_draws(where):
        torch.manual_seed(derive_seed(seed, "audit"))  # a random model draws from it
        report = _Search(model=guest, loaded=loaded, report=report, seed=seed, device=where, stop=stop).escalate()
    if images is not None:
        columns = {"index": first.index, "label": first.label, WITNESSES: report.witnesses}
        arrays = {name: column[~report.robust].numpy() for name, column in columns.items()}
        write_atomically(Path(images), lambda path: write_arrays(path, arrays))
    return report


@dataclass(kw_only=True)
class _Search:
    """What is known about the attacked examples so far."""

    model: nn.Module
    loaded: LoadedDataset
    report: AuditReport
    seed: int
    device: torch.device
    stop: StopRequest

    def escalate(self) -> AuditReport:
        """Make one attempt after the other until the claim is refuted, or nothing is left."""
        if RANDOM not in self.report.flags and self._classes_change():
            self.report = replace(self.report, flags=(*self.report.flags, RANDOM))
        self.random = RANDOM in self.report.flags
        if self.random:
            self._judge_first()
        plan = attempts(self.report.first.threat.norm, self.report.flags, functools.cache(self._substitute))
        for name, attempt in plan.items():
            if self.report.refuted or self.stop.is_due():
                self._leave(name)
            else:
                self._try(name, attempt)
        if not (self.report.refuted or self.random):
            self._test(plan)
        return self.report

    def _classes_change(self) -> bool:
        """Whether a few images get other classes in one of many calls; few draws repeat."""
        images, _ = self._examples(torch.arange(min(_UNIT_TESTED, len(self.report.robust))), "calls")
        with borrowed(self.model), torch.no_grad():
            answers = [self.model(in_best_layout(images)).argmax(dim=1) for _ in range(_CALLS)]
        return any(not torch.equal(answer, answers[0]) for answer in answers)

    def _judge_first(self) -> None:
        """Judge a random model on the first attack's candidates as on those of the other attempts."""
        robust = self._judge(self.report.witnesses, torch.arange(len(self.report.robust)))
        (first,) = self.report.tried
        tried = replace(first, examples=len(robust), broken=int((~robust).sum()))
        self.report = replace(self.report, robust=robust, tried=(tried,))

    def _leave(self, name: str) -> None:
        self.report = replace(self.report, left=(*self.report.left, name))

    def _try(self, name: str, attempt: Attempt) -> None:
        attack = self._attack_random if self.random else self._attack
        before, began, done = self.report.robust, time.monotonic(), 0
        robust = torch.ones_like(before) if self.random else before.clone()
        witnesses, rows = self.report.witnesses.clone(), robust.nonzero()[:, 0]
        try:
            for chosen in torch.split(rows, _CHUNK):
                robust[chosen], witnesses[chosen] = attack(name, attempt, chosen)
                done += len(chosen)
                if not self.random and replace(self.report, robust=robust).refuted:
                    break
        except Stopped:
            self._leave(f"the rest of {name}")
        except PLUGIN_FAULTS as error:  # the model may raise anything under another view
            self._leave(f"{name} ({' '.join(str(error).split())[:100]})")
        broken, seconds = int((~robust[rows]).sum()), time.monotonic() - began
        tried = (*self.report.tried, Tried(attack=name, examples=done, broken=broken, seconds=seconds))
        self.report = replace(self.report, tried=tried)
        if robust.sum() < before.sum():
            self.report = replace(self.report, robust=robust, witnesses=witnesses)

    def _attack(self, name: str, attempt: Attempt, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Which examples withstand an attempt, and the candidates."""
        rows, test = self.report.first.index[chosen], self.loaded.splits.test
        examples = Examples(inputs=test.inputs[rows], labels=test.labels[rows])
        with leaving(self.model, self.stop):
            outcome = evaluate_cell(
                self.model,
                train=examples,
                test=examples,
                train_rows=rows,
                test_rows=rows,
                classes=len(self.loaded.splits.classes),
                threat=self.report.first.threat,
                attack=attempt,
                attack_name=name,
                metrics={},
                seed=derive_seed(self.seed, "audit", name),
                device=self.device,
                diagnosed=False,
            )
        return outcome.per_example["robust"], outcome.witnesses

    def _attack_random(self, name: str, attempt: Attempt, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """As `_attack`, for a random model; attacks also the examples that one draw gets wrong."""
        (images, draws), first = self._examples(chosen, f"audit {name}"), self.report.first
        labels, rows = first.label[chosen].to(self.device), first.index[chosen]
        with leaving(self.model, self.stop), borrowed(self.model), searching(self.device):
            found = attempt.perturb(self.model, images, labels, threat=first.threat, generator=draws)
            found = check_candidates(found, images, threat=first.threat, rows=rows, what=name).cpu()
            return self._judge(found, chosen), found

    def _judge(self, candidates: Tensor, chosen: Tensor) -> Tensor:
        """Which candidates a random model classifies as their labels, each in a call by itself."""
        with borrowed(self.model), torch.no_grad():
            alone = [self.model(in_best_layout(one[None].to(self.device))).argmax(dim=1) for one in candidates]
        return torch.cat(alone).cpu() == self.report.first.label[chosen]

    def _test(self, plan: Mapping[str, Attempt]) -> None:
        """Test the attacks on the model itself with planted answers."""
        first, tried = self.report.first, list(self.report.tried)
        images, draws = self._examples((first.prediction == first.label).nonzero()[:_UNIT_TESTED, 0], "unit test")
        for place, one in enumerate(tried):
            if one.attack not in (FIRST, "transfer") and not self.stop.is_due():
                with borrowed(self.model):
                    found, planted = count_found(plan[one.attack], self.model, images, first.threat, draws)
                tried[place] = replace(one, found=found, planted=planted)
        self.report = replace(self.report, tried=tuple(tried))

    def _substitute(self) -> nn.Module:
        """A network that learns the model's answers to the images and to random points around them."""
        images, draws = self._examples(torch.arange(len(self.report.robust)), "substitute")
        threat = self.report.first.threat
        around = [uniform_start(images, threat=threat, generator=draws.child(copy)) for copy in range(_COPIES)]
        known = torch.cat([images, *around])
        with borrowed(self.model), torch.no_grad():
            answers = [self.model(in_best_layout(part)).argmax(dim=1) for part in torch.split(known, _CHUNK)]
        return train_substitute(known, torch.cat(answers), draws.torch_generator())

    def _examples(self, chosen: Tensor, purpose: str) -> tuple[Tensor, KeyedGenerator]:
        rows = self.report.first.index[chosen]
        images = as_model_input(self.loaded.splits.test.inputs[rows].to(self.device))
        return images, KeyedGenerator(derive_seed(self.seed, purpose), rows.to(self.device))
