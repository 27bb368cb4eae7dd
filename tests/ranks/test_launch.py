"""What torchrun says about a process, and what is wrong when it says half of it."""

from __future__ import annotations

import pytest
import torch
from rank_processes import environment_of

from benchbench.errors import UsageError
from benchbench.ranks.group import divide
from benchbench.ranks.launch import find_launch, follows, local_device

ONE_OF_TWO = environment_of(1, 2, 29500)


def test_a_process_on_its_own_is_no_rank() -> None:
    assert find_launch({}) is None
    assert find_launch({"WORLD_SIZE": "4"}) is None
    assert find_launch({**ONE_OF_TWO, "RANK": "0", "WORLD_SIZE": "1"}) is None
    assert not follows({})


def test_torchrun_says_who_a_process_is() -> None:
    launch = find_launch({**ONE_OF_TWO, "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert launch is not None
    assert (launch.rank, launch.count, launch.address, launch.port) == (1, 2, "127.0.0.1", 29500)
    assert launch.store_runs
    assert follows(ONE_OF_TWO)
    assert not follows({**ONE_OF_TWO, "RANK": "0"})


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "no MASTER_ADDR and no MASTER_PORT"),
        ({"RANK": "first"}, "must be numbers"),
        ({"RANK": "2"}, "RANK is 2 of a WORLD_SIZE of 2"),
    ],
)
def test_half_an_environment_is_refused(changed: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        find_launch({**ONE_OF_TWO, **changed})


def test_each_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = find_launch(ONE_OF_TWO)
    assert launch is not None
    assert local_device(torch.device("cpu"), launch) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_device(torch.device("cuda"), launch) == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="one GPU for 2 ranks"):
        local_device(torch.device("cuda:0"), launch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="rank 1 finds no GPU"):
        local_device(torch.device("cuda"), launch)


@pytest.mark.parametrize("whole", [1, 2, 5, 64])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_make_up_the_batch(whole: int, count: int) -> None:
    parts = [divide(whole, rank=rank, count=count) for rank in range(count)]
    assert [n for part in parts if part.counts for n in range(part.first, part.last)] == list(range(whole))
    assert all(len(part) >= 1 for part in parts)
    sizes = [len(part) for part in parts if part.counts]
    assert max(sizes) - min(sizes) <= 1
