"""The Python API: what the commands do, for notebooks and other programs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchbench.cell import Precision
from benchbench.contract import DataSource
from benchbench.errors import UsageError, suggest
from benchbench.events import Listener, ignore
from benchbench.plan import Plan, make_plan
from benchbench.registry import load_registry
from benchbench.running import Prepared, RunResult, execute
from benchbench.settings import Folders, find_device, find_folders
from benchbench.stopping import StopRequest
from benchbench.suite import Suite, read_suite

if TYPE_CHECKING:
    from benchbench.separation import SeparationReport


def run(
    suite: str,
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    device: str | None = None,
    data: Path | None = None,
    runs: Path | None = None,
    leaderboards: Path | None = None,
    download: bool = False,
    fresh: bool = False,
    listener: Listener = ignore,
    stop: StopRequest | None = None,
    precision: Precision = "float32",
) -> RunResult:
    """Train, attack and measure the cells of a suite that are not done yet, and rebuild its leaderboard.

    Processes that share the folders share the cells, too: each cell is computed by one of them, and all end with all rows.

    Args:
        suite: a name, or the path of a TOML file.
        profile: ``"paper"``, ``"quick"`` or another one of the suite; None for paper on CUDA, quick otherwise.
        only: filters such as ``"defense=trades,at"``.
        seeds: seeds of the runs; empty for the suite's.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``; None for CUDA if there is one.
        data: data root in torchvision's layout; None for ``BENCHBENCH_DATA``.
        runs: folder of checkpoints and records; None for the one below ``BENCHBENCH_HOME``.
        leaderboards: folder of the Parquet files; None for ``./leaderboards``.
        download: whether missing datasets may be fetched.
        fresh: compute every cell anew.
        listener: is told what happens, see `benchbench.events`.
        stop: a budget, or somebody's wish to stop; None for neither.
        precision: ``"bf16"`` lets attacks search in bfloat16, in cells of their own; everything is judged in float32.

    Raises:
        BenchbenchError: a mistake that the user can mend, before anything is computed.
    """
    folders = find_folders(data=data, runs=runs, leaderboards=leaderboards)
    prepared = _prepare(
        suite,
        profile,
        only=only,
        seeds=seeds,
        device=device,
        folders=folders,
        download=download,
        fresh=fresh,
        precision=precision,
    )
    return execute(prepared, folders, fresh=fresh, listener=listener, stop=stop or StopRequest())


def plan(
    suite: str,
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    device: str | None = None,
    data: Path | None = None,
    runs: Path | None = None,
    download: bool = False,
) -> Plan:
    """What `run` would do (same arguments), with the predicted seconds of each ready cell."""
    from benchbench.pricing import price

    folders = find_folders(data=data, runs=runs)
    prepared = _prepare(
        suite, profile, only=only, seeds=seeds, device=device, folders=folders, download=download, fresh=False
    )
    return price(prepared.plan, prepared.registry, prepared.device)


def separation(
    dataset: str | Mapping[str, Any],
    *,
    random_labels: bool = False,
    exclude: Collection[int] = (),
    epsilon: float | None = None,
    pairs: int = 5,
    seed: int = 0,
    data: Path | None = None,
    download: bool = False,
) -> SeparationReport:
    """How far apart the classes of a dataset are, exactly: `benchbench.separation.measure` for a dataset by name.

    Args:
        dataset: a name, or a mapping of ``name`` and options.
        random_labels: draw each label uniformly instead (Table 8).
        exclude: indices of training examples to leave out.
        epsilon: attack radius to compare with; None for the paper's protocol where it has the dataset.
        pairs: how many closest pairs to keep.
        seed: of the random labels.
        data: data root; None for ``BENCHBENCH_DATA``.
        download: whether a missing dataset may be fetched.

    Raises:
        UsageError: an unknown dataset or option, an excluded index that does not exist, a negative epsilon.
        MissingDataError: the data is not there.
        DataError: it is damaged, or for regression.
    """
    from benchbench.data import load_dataset
    from benchbench.lookup import find_component, protocol_threat
    from benchbench.separation import measure

    registry = load_registry()
    source = find_folders(data=data).source(download=download)
    component = find_component(registry, "dataset", dataset)
    if epsilon is None:
        threat = protocol_threat(registry, component.name)
        epsilon = threat.epsilon if threat else None
    splits = load_dataset(registry, component, source).splits
    return measure(splits, random_labels=random_labels, exclude=exclude, epsilon=epsilon, pairs=pairs, seed=seed)


def _prepare(
    name: str,
    profile: str | None,
    *,
    only: Sequence[str],
    seeds: Sequence[int],
    device: str | None,
    folders: Folders,
    download: bool,
    fresh: bool,
    precision: Precision = "float32",
) -> Prepared:
    from benchbench.records import RunStore

    registry = load_registry()
    suite = read_suite(name, registry)
    where = find_device(device)
    chosen, reason = choose_profile(suite, profile, where.type)
    store = RunStore(folders.runs)
    source: DataSource = folders.source(download=download)
    made = make_plan(
        suite,
        registry,
        profile=chosen,
        seeds=tuple(seeds) or None,
        only=tuple(only),
        source=source,
        precision=precision,
        done=(lambda _: False) if fresh else store.is_done,
    )
    return Prepared(registry=registry, suite=suite, profile=chosen, reason=reason, device=where, store=store, plan=made)


def choose_profile(suite: Suite, asked: str | None, device: str) -> tuple[str, str]:
    """The profile to run and why, in words.

    Raises:
        UsageError: the suite has no such profile.
    """
    if asked is not None:
        if asked not in suite.profiles:
            hint = suggest(asked, suite.profiles)
            raise UsageError(f"suite {suite.name!r} has no profile {asked!r}", hint=hint)
        return asked, ""
    wanted = "paper" if device == "cuda" else "quick"
    if wanted in suite.profiles:
        return wanted, f"chosen because the device is {device}; --profile overrides"
    return suite.profiles[0], f"the suite has no {wanted} profile"
