"""Where things are, and which device computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchbench.errors import StorageError, UsageError
from benchbench.settings import check_writable, find_device, find_folders, why_rounding_is_in_vain


def test_defaults_are_below_the_home_and_the_current_folder(tmp_path: Path) -> None:
    found = find_folders(environment={"BENCHBENCH_HOME": str(tmp_path)})
    assert (found.data, found.home, found.runs) == (tmp_path / "data", tmp_path, tmp_path / "runs")
    assert found.leaderboards == Path("leaderboards")


def test_without_a_home_the_user_cache_is_it() -> None:
    assert find_folders(environment={}).home == Path.home() / ".cache" / "benchbench"


def test_options_win_over_the_environment(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    environment = {"BENCHBENCH_HOME": str(tmp_path), "BENCHBENCH_DATA": "/nowhere"}
    found = find_folders(data=tmp_path / "mine", runs=Path("r"), leaderboards=Path("l"), environment=environment)
    assert (found.data, found.runs, found.leaderboards) == (tmp_path / "mine", Path("r"), Path("l"))


def test_empty_variables_count_as_unset(tmp_path: Path) -> None:
    found = find_folders(environment={"BENCHBENCH_HOME": "", "BENCHBENCH_DATA": ""})
    assert found.home == Path.home() / ".cache" / "benchbench"


@pytest.mark.parametrize(("option", "told"), [(Path("/nowhere"), "--data"), (None, "BENCHBENCH_DATA")])
def test_missing_data_root_names_where_it_was_asked_for(option: Path | None, told: str) -> None:
    with pytest.raises(UsageError, match=rf"/nowhere \({told}\) is not a folder"):
        find_folders(data=option, environment={"BENCHBENCH_DATA": "/nowhere"})


def test_source_downloads_only_when_asked(tmp_path: Path) -> None:
    folders = find_folders(environment={"BENCHBENCH_HOME": str(tmp_path)})
    assert not folders.source().download
    assert folders.source(download=True).download
    assert folders.source().cache == tmp_path / "datasets"


def test_device_is_cuda_where_there_is_one() -> None:
    assert find_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cpu:x", "", "cuda:-1x", "CPU", "xpu", "mps", "xpu:0", "cpu:1"])
def test_unknown_device_is_refused_with_what_to_type(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_device(name)
    assert "cpu" in caught.value.hint


@pytest.mark.parametrize(("count", "typed"), [(1, "--device cuda"), (4, "--device cuda:0 to cuda:3")])
def test_gpu_that_the_machine_lacks_is_refused(count: int, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert find_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(UsageError, match="no device 'cuda:7' here") as caught:
        find_device("cuda:7")
    assert caught.value.hint == f"use {typed}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_absent_cuda_is_refused_with_what_helps() -> None:
    with pytest.raises(UsageError, match="no CUDA device") as caught:
        find_device("cuda")
    assert "--device cpu" in caught.value.hint


def test_rounding_that_a_processor_does_not_do_in_hardware_is_told_to_be_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    for able in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda able=able: able)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        assert bool(why_rounding_is_in_vain("bf16", cpu)) == (not able)
        assert "Ampere" in why_rounding_is_in_vain("tf32", cpu)
        assert why_rounding_is_in_vain("float32", cpu) == ""


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
def test_cuda_devices_round_to_bf16_always_and_to_tf32_from_ampere_on(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert why_rounding_is_in_vain("bf16", torch.device("cuda")) == ""
    assert bool(why_rounding_is_in_vain("tf32", torch.device("cuda"))) == (capability < (8, 0))


def test_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/benchbench", "file", "file/below"])
def test_folder_that_cannot_be_written_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match=place):
        check_writable(tmp_path / place)
