"""Parts of an evaluation that are kept and shared: however many processes share it, its outcome is the same, bit for bit."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import in_ranks
from torch import Tensor, nn

from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.metrics.accuracy import Accuracy, AdversarialAccuracy, Gaps
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import Attack, Examples, Metric, Threat
from benchbench.evaluation import Outcome, evaluate, subject
from benchbench.evaluation.memory import ATTACKED, Memory, ShardResult
from benchbench.records.claims import Claims
from benchbench.records.measurements import StoredMeasurements


class Kept(dict[str, ShardResult]):
    """A cache in memory."""

    def put(self, key: str, value: ShardResult) -> None:
        self[key] = value


def test_a_part_says_whether_it_depends_on_the_attack_even_at_second_hand() -> None:
    cache = Kept()
    memory = Memory(cache)

    def robust() -> ShardResult:
        memory.recall("clean", dict)
        memory.mark_attacked()
        return {"robust": torch.tensor(True)}

    memory.recall("metric/lipschitz", lambda: memory.recall("clean", dict))
    memory.recall("metric/adversarial", robust)
    memory.recall("metric/gaps", lambda: memory.recall("metric/adversarial", robust))
    memory.recall("metric/later", dict)
    attacked = {key: bool(part[ATTACKED]) for key, part in cache.items()}
    assert attacked == {
        "clean": False,
        "metric/lipschitz": False,
        "metric/adversarial": True,
        "metric/gaps": True,
        "metric/later": False,
    }


def test_a_cached_part_still_counts_as_depending_on_the_attack() -> None:
    cache = Kept()
    first = Memory(cache)

    def robust(memory: Memory) -> ShardResult:
        memory.mark_attacked()
        return {}

    first.recall("metric/adversarial", lambda: robust(first))
    second = Memory(cache)
    second.recall("metric/gaps", lambda: second.recall("metric/adversarial", dict))
    assert bool(cache["metric/gaps"][ATTACKED])


METRICS: dict[str, Metric] = {
    "accuracy": Accuracy(),
    "adversarial-accuracy": AdversarialAccuracy(),
    "gaps": Gaps(),
    "lipschitz": LocalLipschitzness(steps=3),
}


class Counted:
    """A cache on the disk that knows what was put into it."""

    def __init__(self, folder: Path) -> None:
        self.kept = StoredMeasurements(folder, print)
        self.put_keys: list[str] = []

    def get(self, key: str) -> dict[str, Tensor] | None:
        return self.kept.get(key)

    def put(self, key: str, value: dict[str, Tensor]) -> None:
        self.put_keys.append(key)
        self.kept.put(key, value)


class Claimed:
    """Claims as the harness takes them."""

    def __init__(self, folder: Path) -> None:
        self.claims = Claims(folder)

    def claim(self, key: str) -> AbstractContextManager[bool]:
        return self.claims.held(key.replace("/", "-"))

    def wait(self) -> None:
        time.sleep(0.02)


def examples(count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Examples(inputs=inputs, labels=torch.randint(0, 4, (count,), generator=generator))


def outcome_of(attack: Attack, cache: Counted | None = None, shared: Claimed | None = None) -> Outcome:
    """An evaluation in shards of 16 examples: 150 training and 90 test examples, neither a multiple."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    subject.EXAMPLES_PER_SHARD = 16
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
    train, test = examples(150, 1), examples(90, 2)
    test = Examples(inputs=test.inputs, labels=model(test.inputs / 255.0).argmax(1))  # most are worth an attack
    return evaluate(
        model,
        train=train,
        test=test,
        train_rows=torch.arange(150) * 3,
        test_rows=torch.arange(90) + 7,
        classes=4,
        threat=Threat(epsilon=0.02),
        attack=attack,
        attack_name="attack",
        metrics=METRICS,
        seed=0,
        device=torch.device("cpu"),
        batch_size=8,
        cache=cache,
        sharing=shared,
    )


def share(_: object, folder: Path, attack: Attack) -> tuple[Outcome, list[str]]:
    cache = Counted(folder / "parts")
    return outcome_of(attack, cache, Claimed(folder / "claims")), cache.put_keys


@pytest.fixture
def unsharded(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(subject, "EXAMPLES_PER_SHARD", 16)
    return outcome_of


@pytest.mark.parametrize(
    ("count", "attack"),
    [(1, Pgd(steps=5)), (2, Pgd(steps=5)), (3, Pgd(steps=5)), (7, Pgd(steps=5)), (2, MultiTargeted(steps=3))],
)
@pytest.mark.sampled(4)
def test_outcomes_are_the_same_however_many_share_them(
    count: int, attack: Attack, tmp_path: Path, unsharded: Any
) -> None:
    expected = unsharded(attack)
    assert 0 < int(expected.per_example["robust"].sum()) < int(expected.per_example["correct"].sum())
    answers = in_ranks(count, share, tmp_path, attack) if count > 1 else [share(None, tmp_path, attack)]
    for outcome, _ in answers:
        assert outcome.values == expected.values
        assert outcome.flags == expected.flags
        assert outcome.queries == expected.queries
        assert torch.equal(outcome.witnesses, expected.witnesses)
        assert outcome.per_example.keys() == expected.per_example.keys()
        for column, values in expected.per_example.items():
            assert torch.equal(outcome.per_example[column], values), column
    computed = Counter(key for _, keys in answers for key in keys if key[-8:].isdigit())
    shards = {"attack/train": 10, "clean/train": 10, "attack/test": 6, "clean/test": 6, "metric/lipschitz": 6}
    assert Counter(key[:-9] for key in computed) == shards
    assert set(computed.values()) == {1}


def test_a_shard_whose_owner_died_is_computed_by_another(tmp_path: Path, unsharded: Any) -> None:
    expected = unsharded(Pgd(steps=5))
    claims = tmp_path / "claims"
    claims.mkdir()
    dead = '{"host": "elsewhere", "pid": 1, "started": "", "token": "abc"}'
    (claims / "attack-test-00000016.json").write_text(dead)
    shared = Claimed(claims)
    shared.claims = Claims(claims, stale_seconds=0.3)
    outcome = outcome_of(Pgd(steps=5), Counted(tmp_path / "parts"), shared)
    assert torch.equal(outcome.witnesses, expected.witnesses)
