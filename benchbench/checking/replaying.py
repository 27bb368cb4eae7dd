"""Replay the witnesses of a row, one forward pass, and attack its model again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchbench.atomic import scratch_folder
from benchbench.cell.model import Cell, Component, to_json
from benchbench.cell.reading import read_cell
from benchbench.checking.consistency import judge_suite, model_findings, needed_columns, outcome_findings
from benchbench.checking.evidence import (
    Finding,
    Replay,
    UnavailableError,
    Verdict,
    code_changes,
    find_weights,
    identity_findings,
    read_evidence,
    replay_findings,
    what_is_missing,
)
from benchbench.checking.examination import Examination
from benchbench.checking.fresh_attack import FreshAttack, Suspect
from benchbench.checking.given import fill, load_given, read_weights
from benchbench.checking.passes import answers, judge_images, replay_witnesses
from benchbench.checking.proofs import claims_of
from benchbench.contract import DatasetSplits, DataSource
from benchbench.data import LoadedDataset, Subset, load_dataset, subset
from benchbench.errors import BenchbenchError, PluginError, UsageError, counted
from benchbench.harness.cells import build_model, train_cell
from benchbench.harness.fitting import trains_in_steps
from benchbench.harness.workbench import Workbench
from benchbench.leaderboard.challenges import challenged_accuracy, read_challenges
from benchbench.own_model.architectures import OwnCallable
from benchbench.planning.datasets import DatasetLoader
from benchbench.records import Row, RunStore, kept_checkpoints
from benchbench.records.arrays import Array
from benchbench.records.outcomes import WITNESSES
from benchbench.registry import Registry

_log = logging.getLogger(__name__)
NO_ATTACK = "witnesses replayed; no attack was made"
_Arrays = dict[str, Array]


@dataclass(kw_only=True)
class Replayer:
    """Checks rows one by one, by the evidence in the folders; keeps the last dataset and model."""

    registry: Registry
    folders: tuple[Path, ...]
    source: DataSource
    device: torch.device
    attack: FreshAttack | None = None  # None to replay only
    own: OwnCallable | None = None  # makes networks that are not registered, see `load_given`
    _datasets: dict[str, LoadedDataset] = field(default_factory=dict)
    _models: dict[str, tuple[nn.Module, list[Finding]]] = field(default_factory=dict)

    def judge(self, row: Row) -> Verdict:
        """Check one row; files are only read."""
        if row.source != "measured" or row.status != "ok":
            other = f"this benchbench has no such row of {row.published_source}"
            why = f"the cell {row.status}" if row.source == "measured" else other
            return Verdict(cell_id=row.cell_id, status="unchecked", missing=(why,))
        found = Examination()
        try:
            self._examine(row, found)
        except UnavailableError as error:
            found.missing.append(str(error))
        except (BenchbenchError, KeyError) as error:
            found.findings.append(Finding(what=f"cannot be replayed: {' '.join(str(error).split())[:300]}"))
        verdict = found.verdict(row)
        if self.attack is None:
            return replace(verdict, remarks=(*verdict.remarks, NO_ATTACK))
        if found.suspect is None or verdict.findings:
            return verdict
        verdict = self.attack.judge(verdict, found.suspect)
        return replace(verdict, claimed=claims_of(row, {*found.checked, "attacked"})) if verdict.queries else verdict

    def _examine(self, row: Row, found: Examination) -> None:
        findings, missing = found.findings, found.missing
        found.outcomes = read_evidence(self.folders, "outcomes", row.outcomes_digest, findings, missing)
        witnesses = read_evidence(self.folders, "witnesses", row.witnesses_digest, findings, missing)
        cell = read_cell(row.configuration)
        findings += identity_findings(row, cell)
        if found.outcomes is not None:
            findings += outcome_findings(row, found.outcomes, needed_columns(cell, self.registry))
        differing = code_changes(cell, self.registry)
        found.changed = {name: f"{old}, here {new}" for name, (old, new) in differing.items()}
        test, splits = self.test_examples(cell), self.dataset(cell).splits  # unavailable data are reported first
        if judge_suite(cell, splits, self.registry, findings, missing):
            found.checked.add("registered")
        path = find_weights(self.folders, row)
        if found.outcomes is None or (witnesses is None and path is None):
            return
        images = None if witnesses is None else witnesses[WITNESSES]
        model, found.replay = self._judge_model(row, cell, path, found.outcomes, images, findings, missing)
        if found.replay.clean is not None and path is None:
            found.checked.add("fitted")
        if model is not None and "robust" in found.outcomes:
            found.remarks += self._challenges(row, cell, model, test, found.outcomes)
        if model is not None and found.replay.clean is not None:
            found.suspect = Suspect(
                cell=cell,
                model=model,
                test=test,
                classes=None if splits.task == "regression" else len(splits.classes),
                outcomes=found.outcomes,
                witnesses=images,
                changed=found.changed.get(f"attack {row.attack}", ""),
            )

    def _challenges(self, row: Row, cell: Cell, model: nn.Module, test: Subset, outcomes: _Arrays) -> Iterator[str]:
        """What each challenge of a row proves now."""
        for folder in self.folders:
            for one in read_challenges(folder / "challenges" / row.cell_id):
                threat, sent = cell.evaluation.threat, (one.index, one.images)
                try:
                    held = one.index[judge_images(model, test, threat, *sent, outcomes, self.device).breaks]
                except (BenchbenchError, RuntimeError) as error:
                    yield f"the challenge by {one.by} cannot be replayed: {error}"
                    continue
                share = challenged_accuracy(outcomes, [replace(one, index=held)])
                yield f"the challenge by {one.by}: {len(held)} of {len(one.index)} images break: at most {share:.1%}"

    def dataset(self, cell: Cell) -> LoadedDataset:
        """The data of a cell, perhaps of another digest; `UnavailableError` if not on this machine."""
        key = to_json(cell.training.dataset)
        if key not in self._datasets:
            self._datasets.clear()
            try:
                self._datasets[key] = load_dataset(self.registry, cell.training.dataset, self.source)
            except BenchbenchError as error:
                raise UnavailableError(
                    f"dataset {cell.training.dataset.name}: {what_is_missing(error, cell)}"
                ) from error
        return self._datasets[key]

    def test_examples(self, cell: Cell) -> Subset:
        """The test examples of a cell's evaluation; `UnavailableError` if not on this machine."""
        loaded = self.dataset(cell)
        if loaded.digest != cell.training.dataset_digest:
            raise UnavailableError(
                f"dataset {cell.training.dataset.name} here is {loaded.digest[:12]}, "
                f"the row's {cell.training.dataset_digest[:12]}"
            )
        return subset(loaded.splits.test, cell.evaluation.n_test, "test")

    def model(self, row: Row, cell: Cell) -> nn.Module:
        """The trained model of a row and its cell; `UnavailableError` without its own weights."""
        model, findings = self._model(cell, find_weights(self.folders, row))
        if findings:
            raise UnavailableError("; ".join(map(str, findings)))
        return model

    def _judge_model(
        self,
        row: Row,
        cell: Cell,
        path: Path | None,
        outcomes: _Arrays,
        witnesses: Array | None,
        findings: list[Finding],
        missing: list[str],
    ) -> tuple[nn.Module | None, Replay]:
        """Replay with the weights of a path or, if they refute the row, earlier ones of a fresh run."""
        try:
            model, found = self._model(cell, path)
        except (UnavailableError, UsageError, PluginError) as error:
            checked = "" if witnesses is None else ": witnesses checked for box and ball only"
            missing.append(what_is_missing(error, cell) + checked)
            replay = self._replay(cell, None, witnesses)
            findings += replay_findings(outcomes, replay)
            return None, replay
        replay = self._replay(cell, model, witnesses)
        found = [*found, *replay_findings(outcomes, replay), *self._recomputed(row, cell, model)]
        for kept in kept_checkpoints(path) if found and path is not None else []:
            other, of_model = self._model(cell, kept)
            earlier = self._replay(cell, other, witnesses)
            if not [*of_model, *replay_findings(outcomes, earlier), *self._recomputed(row, cell, other)]:
                return other, earlier
        again = self._replay(cell, model, witnesses).clean if found else None
        if again is not None and replay.clean is not None and not np.array_equal(again, replay.clean):
            missing.append("the model's answers change from call to call, so that its predictions cannot be replayed")
            replay = replace(replay, clean=None, attacked=None)
            found = replay_findings(outcomes, replay)
        findings += found
        return model, replay

    def _replay(self, cell: Cell, model: nn.Module | None, witnesses: Array | None) -> Replay:
        doubled, threat = self.dataset(cell).splits.task == "regression", cell.evaluation.threat
        return replay_witnesses(model, self.test_examples(cell), threat, witnesses, self.device, doubled=doubled)

    def _recomputed(self, row: Row, cell: Cell, model: nn.Module) -> Iterator[Finding]:
        splits = self.dataset(cell).splits
        return model_findings(row, cell, model, splits, lambda inputs: answers(model, inputs, self.device))

    def _model(self, cell: Cell, path: Path | None) -> tuple[nn.Module, list[Finding]]:
        key = f"{cell.training.model_id} {path}"
        if key not in self._models:
            self._models.clear()
            self._models[key] = self.load_model(cell, path)
        return self._models[key]

    def _fit_again(self, cell: Cell) -> nn.Module:
        own, others = self.dataset(cell).splits, DatasetLoader(self.registry, self.source)

        def splits(dataset: Component) -> DatasetSplits:
            return own if dataset == cell.training.dataset else others.splits(dataset)

        with scratch_folder("fit") as folder:
            bench = Workbench(registry=self.registry, store=RunStore(folder), splits=splits, device=self.device)
            return train_cell(cell, bench).model

    def load_model(self, cell: Cell, path: Path | None) -> tuple[nn.Module, list[Finding]]:
        """The model of a checkpoint, or fitted again without one, and what is wrong with it."""
        splits = self.dataset(cell).splits
        if cell.training.weights:
            return load_given(cell, path, splits, registry=self.registry, own=self.own, device=self.device)
        if path is None:
            defense = self.registry.make("defense", cell.training.defense)
            if trains_in_steps(defense, splits):
                raise UnavailableError("no checkpoint on this machine is of its run")
            return self._fit_again(cell), []
        stored, findings = read_weights(path, cell.training.model_id)
        if (stored.position.epoch, stored.position.step) != (cell.training.recipe.epochs, 0):
            findings.append(Finding(what=f"the checkpoint is of {counted(stored.position.epoch, 'epoch')} of training"))
        return fill(lambda: build_model(cell, splits, self.registry), stored.state), findings
