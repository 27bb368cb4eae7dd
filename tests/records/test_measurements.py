"""The measurement cache survives interruptions and notices damage."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from benchbench.errors import StorageError
from benchbench.records import RunStore

KEY = "ab12/attack/test/00001024"
PART = {
    "robust": torch.tensor([True, False]),
    "candidates": torch.linspace(0, 1, 18).reshape(2, 1, 3, 3),
    "index": torch.arange(2),
}


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, problems: list[str]) -> RunStore:
    return RunStore(tmp_path, on_problem=problems.append)


def _file(store: RunStore) -> Path:
    return next((store.root / "measurements").rglob("*.safetensors"))


def test_what_is_put_is_got(store: RunStore) -> None:
    store.measurements.put(KEY, PART)
    found = RunStore(store.root).measurements.get(KEY)
    assert found is not None
    assert all(torch.equal(found[name], PART[name]) and found[name].dtype == PART[name].dtype for name in PART)
    assert found.keys() == PART.keys()


def test_other_key_is_missing(store: RunStore) -> None:
    store.measurements.put(KEY, PART)
    assert store.measurements.get(KEY + "0") is None


def test_views_and_equal_tensors_are_stored_apart(store: RunStore) -> None:
    base = torch.arange(6.0)
    store.measurements.put(KEY, {"all": base, "some": base[2:4], "same": base})
    found = store.measurements.get(KEY)
    assert found is not None
    assert found["some"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "of another key"])
def test_damaged_entry_is_set_aside_and_measured_again(store: RunStore, problems: list[str], damage: str) -> None:
    store.measurements.put(KEY, PART)
    path = _file(store)
    content = path.read_bytes()
    if damage == "of another key":
        store.measurements.put("another", PART)
        path.write_bytes(next(p for p in path.parents[1].rglob("*.safetensors") if p != path).read_bytes())
    else:
        flipped = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
        path.write_bytes({"truncated": content[:-5], "flipped": flipped, "emptied": b""}[damage])
    assert store.measurements.get(KEY) is None
    assert len(problems) == 1
    assert path.with_name(f"{path.name}.corrupt").exists()
    store.measurements.put(KEY, PART)
    assert store.measurements.get(KEY) is not None


def test_discarding_a_scope_leaves_the_others(store: RunStore) -> None:
    store.measurements.put("ab12/attack", PART)
    store.measurements.put("cd34/attack", PART)
    store.measurements.discard("ab12")
    store.measurements.discard("never there")
    assert store.measurements.get("ab12/attack") is None
    assert store.measurements.get("cd34/attack") is not None


def test_discarding_while_another_process_writes_is_no_error(store: RunStore) -> None:
    """A helper that is late writes into the folder which the owner of the cell removes."""
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            for name in ("a", "b", "c", "d"):
                with suppress(StorageError):  # its folder may vanish: helpers only log that
                    store.measurements.put(f"ab12/{name}", PART)

    helpers = [threading.Thread(target=write) for _ in range(3)]
    for helper in helpers:
        helper.start()
    try:
        for _ in range(20):
            while store.measurements.get("ab12/a") is None:
                pass
            store.measurements.discard("ab12")
    finally:
        over.set()
        for helper in helpers:
            helper.join()
    store.measurements.discard("ab12")
    assert store.measurements.get("ab12/a") is None
