from __future__ import annotations

import torch

from benchbench.evaluation.memory import ATTACKED, Memory, ShardResult


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
