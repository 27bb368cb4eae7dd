"""Every timm model answers with logits at the sizes of the suites' images, or is refused with a reason.

With BENCHBENCH_EXHAUSTIVE=1 all of them, which takes an hour of a core; BENCHBENCH_TIMM_SWEEP names the file that an
interrupted sweep goes on from, BENCHBENCH_TIMM_SHARD (``2/4``) a part of the models. Otherwise a few.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import timm_sweep
from timm_sweep import SIZES, Trial, architectures, read, sweep, try_here

EXHAUSTIVE = bool(os.environ.get("BENCHBENCH_EXHAUSTIVE"))


def unexplained(trials: list[Trial]) -> list[Trial]:
    """Those that neither answered nor were refused with a reason of the model's."""
    return [
        trial
        for trial in trials
        if trial.outcome == "broken" or (trial.outcome == "refused" and len(trial.how.split(": ", 1)[-1]) < 10)
    ]


@pytest.mark.exhaustive
def test_sweep_tells_what_becomes_of_each_model_and_goes_on_where_it_was(tmp_path: Path) -> None:
    results, size = tmp_path / "results.jsonl", (1, 28, 28)
    try_here(results, ["test_vit"], [size])
    before = results.read_text()
    trials = sweep(results, ["test_vit", "vgg11"], [size])
    assert results.read_text().startswith(before)
    assert [trial.outcome for trial in trials] == ["adapted", "refused"]
    assert "'patch_size': 7" in trials[0].how
    assert "it takes 32x32 images" in trials[1].how
    assert unexplained(trials) == []


def test_process_that_ends_is_told_as_broken_and_the_rest_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm_sweep, "SECONDS", 0.2)
    trials = sweep(tmp_path / "results.jsonl", ["test_vit", "resnet18"], [(1, 28, 28)])
    assert [(trial.model, trial.outcome) for trial in trials] == [("test_vit", "broken"), ("resnet18", "broken")]
    assert unexplained(trials) == trials


def test_models_with_weights_answer_with_finite_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_sweep, "REAL_PARAMETERS", 1_000_000)
    models = ["test_vit", "test_convnext", "test_efficientnet", "resnet18"]
    try_here(tmp_path / "results.jsonl", models, SIZES[1:], real=True)
    trials = read(tmp_path / "results.jsonl")
    assert {trial.outcome for trial in trials} == {"published", "adapted"}
    assert [trial.model for trial in trials if "tried without weights" in trial.how] == ["resnet18"] * 2


@pytest.mark.exhaustive  # takes an hour
@pytest.mark.timeout(0)
def test_every_model_answers_or_is_refused_with_a_reason(tmp_path: Path) -> None:
    shard, shards = map(int, os.environ.get("BENCHBENCH_TIMM_SHARD", "1/1").split("/"))
    results = Path(os.environ.get("BENCHBENCH_TIMM_SWEEP") or tmp_path / "results.jsonl")
    models = architectures()[shard - 1 :: shards]
    trials = [trial for trial in sweep(results, models) if trial.model in set(models)]
    assert len(trials) == len(models) * len(SIZES)
    assert unexplained(trials) == []
