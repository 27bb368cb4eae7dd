"""Checkpoints as training scripts write them: their weights are found, and nothing else in them is made."""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchbench.errors import BenchbenchError, DataError, StorageError, UsageError
from benchbench.own_model.files import load_weights
from benchbench.own_model.origin import recorded_architecture
from benchbench.registry import load_registry

State = dict[str, Any]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


@pytest.fixture
def state() -> State:
    """Weights that no initialisation gives."""
    numbers = itertools.count(1)
    return {
        name: torch.full_like(value, next(numbers) / 8) for name, value in network().state_dict().items()
    }  # halves keep eighths


def below(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def assert_read(state: State, path: Path, key: str = "") -> str:
    model = network()
    said = load_weights(model, path, key=key)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name].to(value.dtype)), name
    return said


FORMS: dict[str, Callable[[State], object]] = {
    "plain": lambda s: s,
    "parallel": lambda s: below("module.", s),
    "nested": lambda s: {"state_dict": below("module.", s), "epoch": 1},
    "NumPy scalar": lambda s: {"state_dict": s, "best": np.float64(0.9), "seen": np.int64(3), "curve": np.zeros(3)},
    "Namespace": lambda s: {"model": s, "args": argparse.Namespace(lr=1, root=Path("data"))},
    "defaultdict": lambda s: {"model": s, "history": collections.defaultdict(list, loss=[0.5])},
    "class of the script": lambda s: {"model": s, "options": Options()},
    "under net": lambda s: {"net": s, "acc": 90.0, "epoch": 1},
    "under a key that nobody knows": lambda s: {"epoch": torch.tensor(3), "generator": {"weights": s}},
    "compiled": lambda s: below("_orig_mod.", s),
    "compiled in a parallel model": lambda s: below("module._orig_mod.", s),
    "parallel in a wrapper": lambda s: below("module.model.", s),
    "field of a trainer": lambda s: {"state_dict": {**below("net.", s), "criterion.weight": torch.ones(3)}},
    "field of any name": lambda s: {"state_dict": below("student.", s)},
    "averaged": lambda s: {**below("module.", s), "n_averaged": torch.tensor(7)},
    "with an optimiser": lambda s: {
        "net": s,
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []},
    },
    "half precision": lambda s: {
        name: value.half() if value.is_floating_point() else value for name, value in s.items()
    },
}


class Options:
    """Options of a training script, which a reader cannot import."""

    def __init__(self) -> None:
        self.rate = 0.1

    def __setstate__(self, state: object) -> None:
        raise AssertionError("it was made")


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_in_every_form(form: str, state: State, tmp_path: Path) -> None:
    torch.save(FORMS[form](state), tmp_path / "c.pt")
    assert assert_read(state, tmp_path / "c.pt") == ""


def test_counters_of_batches_may_be_absent_but_nothing_else(state: State, tmp_path: Path) -> None:
    old = {name: value for name, value in state.items() if "num_batches" not in name}
    torch.save({"state_dict": below("module.", old)}, tmp_path / "c.pt")
    model = network()
    load_weights(model, tmp_path / "c.pt")
    assert torch.equal(model.state_dict()["1.running_var"], state["1.running_var"])
    torch.save({name: value for name, value in old.items() if "running_var" not in name}, tmp_path / "c.pt")
    with pytest.raises(DataError, match=r"it lacks 1\.running_var$|it lacks 1\.running_var\n"):
        load_weights(model, tmp_path / "c.pt")


@pytest.mark.parametrize("average", ["model_ema", "state_dict_ema", "averaged"])
def test_raw_weights_are_taken_and_averages_are_named(average: str, state: State, tmp_path: Path) -> None:
    ema = {name: value + 1 for name, value in state.items()}
    torch.save({average: below("module.", ema), "model": state}, tmp_path / "c.pt")
    said = assert_read(state, tmp_path / "c.pt")
    assert "weights 'model' of" in said
    assert f"it also holds {average}.module: --weights KEY" in said
    assert f"weights '{average}.module' of" in assert_read(ema, tmp_path / "c.pt", key=f"{average}.module")
    with pytest.raises(UsageError, match=f"no fitting weights 'average'\n.*{average}.module"):
        load_weights(network(), tmp_path / "c.pt", key="average")


def test_raw_weights_come_first_among_prefixes_too(state: State, tmp_path: Path) -> None:
    ema = {name: value + 1 for name, value in state.items()}
    save_file({**below("ema.", ema), **below("model.", state)}, tmp_path / "c.safetensors")
    assert "it also holds ema:" in assert_read(state, tmp_path / "c.safetensors")
    assert_read(ema, tmp_path / "c.safetensors", key="ema")


def test_part_of_a_larger_network_is_not_taken_for_the_network(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).state_dict(), tmp_path / "c.pt")
    with pytest.raises(DataError, match=r"weights of another model: it lacks bias, weight; it has besides 0\.bias"):
        load_weights(nn.Linear(4, 4), tmp_path / "c.pt")


def test_lazy_layers_get_the_shapes_of_the_file(tmp_path: Path) -> None:
    made = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    torch.save(made.state_dict(), tmp_path / "c.pt")
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    load_weights(lazy, tmp_path / "c.pt")
    images = torch.rand(2, 1, 2, 3)
    assert torch.equal(lazy(images), made(images))


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"open({str(self.trace)!r}, 'w')",)


@pytest.mark.parametrize("in_archive", [True, False])
def test_what_is_no_tensor_is_never_run(in_archive: bool, state: State, tmp_path: Path) -> None:
    torch.save({"model": state, "extra": Bomb(tmp_path / "trace")}, tmp_path / "c.pt")
    if in_archive:
        assert_read(state, tmp_path / "c.pt")
    else:  # a pickle that is no file of torch names nothing in advance
        (tmp_path / "c.pt").write_bytes(pickle.dumps({"extra": Bomb(tmp_path / "trace")}, protocol=2))
        with pytest.raises(DataError, match="is refused"):
            load_weights(network(), tmp_path / "c.pt")
    assert not (tmp_path / "trace").exists()


def test_number_of_skipped_kinds_is_bounded(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchbench.own_model.reading._MOST_SKIPPED", 1)
    torch.save({"model": state, "best": np.float64(0.9)}, tmp_path / "c.pt")
    with pytest.raises(DataError, match="is refused"):
        load_weights(network(), tmp_path / "c.pt")


def test_mapping_that_a_file_holds_many_times_is_searched_once(state: State, tmp_path: Path) -> None:
    inner: State = {"model": state}
    inner["itself"] = inner
    torch.save({**{f"copy{number}": inner for number in range(50)}, "model": state}, tmp_path / "c.pt")
    assert assert_read(state, tmp_path / "c.pt") == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (nn.Linear(2, 2), "holds a Linear, expected: names and tensors"),
        ([1, 2], "holds a list, expected: names and tensors"),
        ({"epoch": 3}, "holds no state_dict: 'epoch' is no tensor"),
        ({"model": nn.Linear(2, 2)}, "holds no state_dict: 'model' is no tensor"),
        ({}, "holds no state_dict: it is empty"),
    ],
)
def test_file_without_weights_is_told(content: object, told: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(DataError, match=told):
        load_weights(network(), tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (lambda value: (10 * value).to(torch.int8), "3.weight torch.int8 instead of torch.float32"),
        (lambda value: value.to(torch.complex64), "3.weight torch.complex64 instead"),
        (lambda value: value.to_sparse(), "3.weight torch.sparse_coo instead"),
        (lambda value: value.to("meta"), "3.weight without values instead"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(
    stored: Callable[[torch.Tensor], torch.Tensor], told: str, state: State, tmp_path: Path
) -> None:
    torch.save({**state, "3.weight": stored(state["3.weight"])}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=told):
        load_weights(network(), tmp_path / "w.pt")


def test_flipped_bit_in_a_tensor_is_damage(tmp_path: Path) -> None:
    torch.save({"weight": torch.full((1000,), 0.5)}, tmp_path / "best.pt")
    content = bytearray((tmp_path / "best.pt").read_bytes())
    content[content.index(b"\x00\x00\x00\x3f" * 100) + 203] ^= 0x40
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"checksum of .* does not match: it is damaged"):
        load_weights(nn.Linear(1000, 1, bias=False), tmp_path / "best.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit")  # of torch.jit itself
def test_programs_are_told_to_be_passed_as_modules(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    (tmp_path / "graph.onnx").write_bytes(b"\x08\x07")
    for name, what in (("script.pt", "a TorchScript archive"), ("graph.onnx", "an ONNX graph")):
        with pytest.raises(DataError, match=f"{name} is {what}, .*\n.*pass the module") as told:
            load_weights(network(), tmp_path / name)
        assert "\n" not in told.value.message


def write_folder(folder: Path, state: State, form: str) -> Path:
    """A Hugging Face folder in one of its four forms."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", "num_classes": 3}))
    first, second = dict(list(state.items())[:3]), dict(list(state.items())[3:])
    if form == "model.safetensors":
        save_file(state, folder / form)
    elif form == "pytorch_model.bin":
        torch.save(state, folder / form)
    else:
        stem, write = ("model", save_file) if "safetensors" in form else ("pytorch_model", torch.save)
        ending = "safetensors" if "safetensors" in form else "bin"
        names = {f"{stem}-0000{number}-of-00002.{ending}": part for number, part in ((1, first), (2, second))}
        for name, part in names.items():
            write(part, folder / name)
        weight_map = {tensor: name for name, part in names.items() for tensor in part}
        (folder / form).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.mark.parametrize(
    "form",
    ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json"],
)
def test_hugging_face_folder_is_read(form: str, state: State, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", state, form)
    assert_read(state, folder)
    with pytest.raises(UsageError, match="cannot tell the architecture"):
        recorded_architecture(folder, load_registry())


@pytest.mark.parametrize(
    ("index", "error", "told"),
    [
        ({"weight_map": {"a": "../other.bin"}}, DataError, "names files in other folders"),
        ({"weight_map": {"a": "missing.bin"}}, StorageError, "there is no file"),
        ({"weight_map": ["a"]}, DataError, "cannot be read"),
        ([], DataError, "cannot be read"),
    ],
)
def test_damaged_index_is_told(index: object, error: type[BenchbenchError], told: str, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.bin")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(error, match=told):
        load_weights(network(), tmp_path / "f")


def test_folder_without_weights_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"holds no weights\n.*model\.safetensors"):
        load_weights(network(), tmp_path)


def test_archive_with_a_damaged_directory_is_told(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "weights.pt")
    content = (tmp_path / "weights.pt").read_bytes()
    (tmp_path / "weights.pt").write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))
    with pytest.raises(DataError, match=r"weights\.pt cannot be read as weights: Bad magic number"):
        load_weights(network(), tmp_path / "weights.pt")
