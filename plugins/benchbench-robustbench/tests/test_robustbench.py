"""Models and leaderboards in RobustBench's formats; weights and numbers are made up."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from benchbench_robustbench import benchbench_architectures
from torch import nn

import benchbench
from benchbench.contract import DataError, OptionError, UsageError
from benchbench.testing import check_architecture

TINY = "cifar10/Linf/Nobody2020Tiny"
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
ENTRY = {
    "link": "https://example.org/paper",
    "name": "A Robust Model of Nobody",
    "authors": "Nobody, Nowhere",
    "additional_data": True,
    "number_forward_passes": 1,
    "dataset": "cifar10",
    "venue": "NoConf 2020",
    "architecture": "WideResNet-28-10",
    "eps": "8/255",
    "clean_acc": "85.10",
    "reported": "60.5",
    "autoattack_acc": "53.42",
    "unreliable": False,
}


@pytest.fixture(autouse=True)
def _package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The made-up package in place of an installed one."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "robustbench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(Path(__file__).parent / "fake")
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "robustbench"]:
        del sys.modules[name]


def zoo() -> Any:
    import benchbench_robustbench.zoo

    return benchbench_robustbench.zoo


def tiny(member: str = TINY) -> nn.Module:
    model: nn.Module = zoo().make_model(member=member, input_shape=(3, 32, 32), classes=10)
    return model


def cached(folder: Path, name: str, content: object) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, file)


def test_every_model_is_a_member() -> None:
    assert list(zoo().list_models()) == [
        "cifar10/L2/Nobody2020Tiny",
        "cifar10/Linf/Nobody2020Tiny",
        "cifar10/Linf/Nobody2021Pair",
        "cifar10/Linf/Nobody2022Mixed",
        "imagenet/Linf/Nobody2023",
    ]
    (offer,) = benchbench_architectures()
    assert offer.capabilities.requires.keys() == {"robustbench"}


def test_model_keeps_the_contract() -> None:
    check_architecture(partial(zoo().make_model, member=TINY), input_shapes=[(3, 32, 32)], classes=[10])


@pytest.mark.parametrize(
    "form",
    [
        lambda state: state,
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
        lambda state: {"best": {name: 0 * value for name, value in state.items()}, "last": state},
        lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1)},
    ],
    ids=["plain", "parallel", "prefixed", "last of two", "with options"],
)
@pytest.mark.parametrize("statistics", [True, False])
def test_weights_of_the_cache_are_loaded(form: Any, statistics: bool, tmp_path: Path) -> None:
    state = tiny().state_dict()
    state = {name: value for name, value in state.items() if statistics or name not in ("mu", "sigma")}
    cached(tmp_path, f"{TINY}.pt", form(state))
    model = zoo().load_model("Nobody2020Tiny", model_dir=tmp_path)
    assert not model.training
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    made = (
        zoo().make_model(member=TINY, input_shape=(3, 32, 32), classes=10, pretrained=True, folder=str(tmp_path)).eval()
    )
    assert torch.equal(made(IMAGES), model(IMAGES))


def test_ensembles_have_a_file_for_each_part(tmp_path: Path) -> None:
    parts = [tiny(), tiny()]
    for number, part in enumerate(parts):
        cached(tmp_path, f"cifar10/Linf/Nobody2021Pair.pt_m{number}.pt", part.state_dict())
    model = zoo().load_model("Nobody2021Pair", model_dir=tmp_path)
    torch.testing.assert_close(model(IMAGES), (parts[0](IMAGES) + parts[1](IMAGES)) / 2)
    with pytest.raises(DataError, match="composed in its own way"):
        zoo().load_model("Nobody2022Mixed", model_dir=tmp_path)


def test_network_behind_a_normalisation_takes_its_own_file(tmp_path: Path) -> None:
    from robustbench.model_zoo import Tiny

    inner = Tiny(classes=1000)
    cached(tmp_path, "imagenet/Linf/Nobody2023.pt", inner.state_dict())
    model = zoo().load_model("Nobody2023", dataset="imagenet", model_dir=tmp_path)
    assert torch.equal(model(IMAGES), inner.eval()(IMAGES - 0.5))


def test_what_is_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        OptionError, match=r"no model 'cifar10/Linf/Nobody2020Tny'\n.*nearest: cifar10/Linf/Nobody2020Tiny"
    ):
        zoo().load_model("Nobody2020Tny")
    with pytest.raises(DataError, match=r"no file .*Nobody2020Tiny\.pt\n.*let RobustBench fetch it"):
        zoo().load_model("Nobody2020Tiny", model_dir=tmp_path)
    cached(tmp_path, f"{TINY}.pt", nn.Linear(2, 2).state_dict())
    with pytest.raises(DataError, match="weights of another model"):
        zoo().load_model("Nobody2020Tiny", model_dir=tmp_path)
    for shape, classes in (((1, 28, 28), 10), ((3, 32, 32), 100)):
        with pytest.raises(OptionError, match="classifies colour images of cifar10 into 10 classes"):
            zoo().make_model(member=TINY, input_shape=shape, classes=classes)
    monkeypatch.setitem(sys.modules, "robustbench.model_zoo", None)
    with pytest.raises(UsageError, match=r"cannot be imported.*\n.*pip install"):
        zoo().list_models()


def write_entry(folder: Path, place: str, **changes: object) -> Path:
    file = folder / f"{place}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**ENTRY, **changes}))
    return file


def test_leaderboards_become_published_rows(tmp_path: Path) -> None:
    info = tmp_path / "model_info"
    write_entry(info, "cifar10/Linf/Nobody2020Robust")
    write_entry(info, "cifar10/L2/Nobody2020Robust", eps="0.5", reported="NaN", external="51.2")
    write_entry(info, "imagenet/Linf/Somebody2021", eps="4/255", dataset="imagenet", architecture="ViT-B")
    write_entry(info, "cifar10/corruptions/Nobody2020Robust", corruptions_acc="80.0")
    board = tmp_path / "boards" / "robustbench.parquet"
    program = [sys.executable, "-m", "benchbench_robustbench", str(info), str(board)]
    finished = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (0, f"{board}: 3 published rows\n"), finished.stderr
    rows = benchbench.read_leaderboard(board).to_pylist()
    assert len({row["cell_id"] for row in rows}) == 3
    (row,) = [row for row in rows if (row["dataset"], row["norm"]) == ("cifar-10", "linf")]
    assert row["source"] == "published"
    assert (row["defense"], row["architecture"], row["attack"]) == (
        "Nobody2020Robust",
        "WideResNet-28-10",
        "autoattack",
    )
    assert (row["epsilon"], row["test_accuracy"], row["adv_test_accuracy"]) == (8 / 255, 0.851, 0.5342)
    assert dict(row["extra"]) == {"claimed_adv_test_accuracy": 0.605}
    facts = json.loads(row["configuration"])
    assert (facts["authors"], facts["venue"], facts["additional_data"]) == ("Nobody, Nowhere", "NoConf 2020", True)
    table = [sys.executable, "-m", "benchbench", "table", str(board), "--format", "markdown"]
    shown = subprocess.run(table, capture_output=True, text=True, check=True).stdout
    assert "cifar-10, WideResNet-28-10, autoattack" in shown
    assert "53.42" in shown
    (other,) = [row for row in rows if row["norm"] == "l2"]
    assert (other["epsilon"], dict(other["extra"])) == (0.5, {"external_adv_test_accuracy": 0.512})


@pytest.mark.parametrize(
    "changes", [{"eps": "wide"}, {"clean_acc": "high"}, {"autoattack_acc": None}], ids=["eps", "clean", "robust"]
)
def test_damaged_entries_are_told(changes: dict[str, object], tmp_path: Path) -> None:
    from benchbench_robustbench.published import import_leaderboards

    file = write_entry(tmp_path, "cifar10/Linf/Nobody", **changes)
    with pytest.raises(DataError, match=r"Nobody\.json is no entry of RobustBench"):
        import_leaderboards(tmp_path, tmp_path / "b.parquet")
    file.write_text("[]")
    with pytest.raises(DataError, match="is no entry"):
        import_leaderboards(tmp_path, tmp_path / "b.parquet")
    file.unlink()
    with pytest.raises(DataError, match="holds no leaderboard"):
        import_leaderboards(tmp_path, tmp_path / "b.parquet")


def test_measured_rows_of_autoattack_become_entries_that_are_read_back_alike(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_entry(tmp_path / "theirs", "cifar10/Linf/Nobody2020Robust")
    write_entry(tmp_path / "theirs", "cifar10/L2/Nobody2020Robust", eps="0.5")
    board, back = tmp_path / "ours.parquet", tmp_path / "ours"
    program = [sys.executable, "-m", "benchbench_robustbench"]
    subprocess.run([*program, str(tmp_path / "theirs"), str(board)], check=True, capture_output=True)
    table = pq.read_table(board)
    place = table.schema.get_field_index("source")
    measured = table.set_column(place, table.schema.field(place), pa.array(["measured"] * table.num_rows))
    pq.write_table(measured, board)
    done = subprocess.run([*program, "export", str(board), str(back)], check=True, capture_output=True, text=True)
    assert done.stdout == f"{back}: 2 entries\n"
    for folder, radius in (("Linf", "8/255"), ("L2", "0.5")):
        (file,) = (back / "cifar10" / folder).iterdir()
        entry = json.loads(file.read_text())
        assert (entry["eps"], entry["clean_acc"], entry["autoattack_acc"]) == (radius, "85.10", "53.42")
        assert (entry["dataset"], entry["architecture"]) == ("cifar10", "WideResNet-28-10")
    subprocess.run([*program, str(back), str(tmp_path / "again.parquet")], check=True, capture_output=True)
    assert subprocess.run([*program, "export", "none.parquet", str(back)], check=False).returncode == 2


def test_one_model_at_several_radii_has_an_entry_for_each(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from benchbench_robustbench.exporting import export_leaderboard
    from benchbench_robustbench.published import import_leaderboards

    radii = ["2/255", "4/255", "8/255"]
    for place, radius in enumerate(radii):
        write_entry(tmp_path / "theirs", f"cifar10/Linf/Nobody{place}", eps=radius)
    board = tmp_path / "ours.parquet"
    import_leaderboards(tmp_path / "theirs", board)
    table = pq.read_table(board)
    for name, value in {"source": "measured", "model_id": "one", "card": '{"title": "One"}'}.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array([value] * table.num_rows))
    pq.write_table(table, board)
    assert export_leaderboard(board, tmp_path / "ours") == 3
    files = (tmp_path / "ours").rglob("*.json")
    assert sorted(json.loads(file.read_text())["eps"] for file in files) == radii
