"""The Python API: the functions behind the commands, for notebooks and other programs."""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchbench.arguments import checked
from benchbench.cell.selection import Filters, as_texts
from benchbench.errors import UsageError
from benchbench.events import Listener, Note
from benchbench.events.notebooks import default_listener
from benchbench.kernels.arithmetic import Precision
from benchbench.planning import Plan
from benchbench.planning.preparing import Request, prepare
from benchbench.ranks.launch import find_launch
from benchbench.registry import load_registry
from benchbench.registry.lookup import ComponentEntry, find_component
from benchbench.running.execution import RunResult, execute, with_prices
from benchbench.settings import AnyPath, find_folders
from benchbench.stopping import StopRequest

if TYPE_CHECKING:
    import torch

    from benchbench.contract import DatasetSplits
    from benchbench.leaderboard.frames import Listing
    from benchbench.own_model.report import ModelReport
    from benchbench.reproduction.findings import JudgedFinding
    from benchbench.separations import SeparationReport


@checked
def run(
    suite: AnyPath,
    *,
    profile: str | None = None,
    only: Filters = (),
    seeds: Sequence[int] = (),
    device: str | torch.device | None = None,
    data: AnyPath | None = None,
    runs: AnyPath | None = None,
    leaderboards: AnyPath | None = None,
    download: bool = False,
    fresh: bool = False,
    listener: Listener | None = None,
    stop: StopRequest | None = None,
    precision: Precision = "float32",
    train_precision: Precision | None = None,
    cuda_graphs: bool = False,
    jobs: int | Literal["auto"] | None = None,
    executor: ComponentEntry | None = None,
) -> RunResult:
    """Train, attack and measure the remaining cells of a suite, and rebuild its leaderboard.

    Processes that share the folders also share the cells: one of them computes each cell, and all end with all rows.
    Processes of torchrun share each model instead: they divide the batches of its training and the shards of its evaluation.

    Args:
        suite: a name, or the path of a TOML file.
        profile: ``"paper"``, ``"quick"`` or another one of the suite; None for paper on CUDA, quick otherwise.
        only: filters such as ``"defense=trades,at"``, one or several, or a mapping: ``{"defense": ["trades", "at"]}``.
        seeds: seeds of the runs; empty for the suite's.
        device: ``"cpu"``, ``"cuda"`` or one GPU, ``"cuda:1"``, or a torch device; None for CUDA if available.
        data: data root in torchvision's layout; None for ``BENCHBENCH_DATA``.
        runs: folder of checkpoints and records; None for the one below ``BENCHBENCH_HOME``.
        leaderboards: folder of the Parquet files; None for ``./leaderboards``.
        download: whether missing datasets may be fetched.
        fresh: whether to recompute every cell. A record stays, with its model's weights, until its successor is complete. An
            interrupted training of an earlier fresh run is resumed.
        listener: receives the events, see `benchbench.events`. None shows progress in notebooks, and nothing elsewhere.
        stop: a budget or a stop request; None for neither.
        precision: ``"bf16"`` and ``"tf32"`` round the searches of attacks and metrics; such cells have other ids. Their
            results are judged in float32.
        train_precision: ``"bf16"`` and ``"tf32"`` round the training; such models have other ids. None for the precision of
            the suite's recipes, by default float32.
        cuda_graphs: whether to record recordable steps of attacks and trainings on CUDA devices, and to replay them: equal
            results, faster with short kernels. Not measured on a device yet.
        jobs: number of simultaneous workers; None leaves it to the executor, or without one computes in this process with
            torch's threads. ``"auto"``, the command's default: for several models, one thread for each model, and as many
            workers as cores, models, memory (on CUDA the GPUs', as measured) and work allow. A certain GPU, ``cuda:1``, is
            for this process alone.
        executor: starts the workers: a name, or a mapping of ``name`` and options. None for ``"local"`` if there are several
            jobs, else for this process alone.

    Raises:
        BenchbenchError: a fault that the user can correct, before any computation.
    """
    from benchbench.executors.crew import choose_crew, planning_device
    from benchbench.running.in_ranks import run_in_ranks
    from benchbench.running.staffing import AUTO, execute_as_suits

    folders, listener = find_folders(data=data, runs=runs, leaderboards=leaderboards), listener or default_listener()
    request = Request(
        suite=os.fspath(suite),
        profile=profile,
        only=as_texts(only),
        seeds=tuple(map(operator.index, seeds)),
        device=None if device is None else str(device),
        download=download,
        fresh=fresh,
        precision=precision,
        train_precision=train_precision,
        cuda_graphs=cuda_graphs,
    )
    registry = load_registry()
    crew = choose_crew(executor, None if isinstance(jobs, str) else jobs, registry)
    launch, stop = find_launch(), stop or StopRequest()
    if launch is not None:
        if crew is not None:
            raise UsageError("torchrun and an executor both start processes", hint="leave out --jobs and --executor")
        return run_in_ranks(launch, request, folders, registry=registry, listener=listener, stop=stop)
    prepared = prepare(request, folders, device=planning_device(request, crew), registry=registry)
    if jobs == AUTO and crew is None:
        return execute_as_suits(prepared, listener=listener, stop=stop)
    return execute(with_prices(prepared), listener=listener, stop=stop, crew=crew)


@checked
def plan(
    suite: AnyPath,
    *,
    profile: str | None = None,
    only: Filters = (),
    seeds: Sequence[int] = (),
    device: str | torch.device | None = None,
    data: AnyPath | None = None,
    runs: AnyPath | None = None,
    download: bool = False,
    precision: Precision = "float32",
    train_precision: Precision | None = None,
    timings: AnyPath | None = None,
    save_timings: AnyPath | None = None,
    jobs: int | Literal["auto"] | None = None,
) -> Plan:
    """Plan what `run` would do, and price every cell of the profile.

    Cells whose data are missing are priced, too. A recorded cell costs what was measured; prices are those of float32.
    Arguments that are not listed are those of `run`.

    Args:
        device: where passes are timed for the prices.
        timings: a file of passes timed on another device: prices are for that device, and nothing is timed here.
        save_timings: where to write the timings of this device.
        jobs: with ``"auto"``, passes are timed on one thread if `run` would use one for each model.

    Raises:
        BenchbenchError: a fault that the user can correct.
    """
    from benchbench.kernels.determinism import on_threads
    from benchbench.pricing.cells import price_all
    from benchbench.pricing.timings import read_timings, write_timings
    from benchbench.records.provenance import describe_device
    from benchbench.running.staffing import AUTO, is_divided

    if timings is not None and save_timings is not None:
        raise UsageError("timings are read or written, not both")
    folders = find_folders(data=data, runs=runs)
    request = Request(
        suite=os.fspath(suite),
        profile=profile,
        only=as_texts(only),
        seeds=tuple(map(operator.index, seeds)),
        device=None if device is None else str(device),
        download=download,
        precision=precision,
        train_precision=train_precision,
    )
    given = None if timings is None else read_timings(Path(timings))
    prepared = prepare(request, folders)
    with on_threads(1 if jobs == AUTO and is_divided(prepared) else None):
        here = describe_device(prepared.device)
        priced = price_all(
            prepared.plan, prepared.registry, prepared.device, timings=given, record=prepared.store.read_cell
        )
    if save_timings is not None:
        write_timings(Path(save_timings), here, priced.timed)
    return dataclasses.replace(priced.plan, priced_for=given.device if given else here)


@checked
def load_dataset(dataset: ComponentEntry, *, data: AnyPath | None = None, download: bool = False) -> DatasetSplits:
    """The training and test examples of a dataset, with the split that every row uses.

    Arguments and errors: see `separation`. Images are uint8 (N, C, H, W) (models get pixels / 255) or float32, labels int64.
    """
    from benchbench.data import load_dataset as load

    registry = load_registry()
    source = find_folders(data=data).source(download=download)
    return load(registry, find_component(registry, "dataset", dataset), source).splits


@checked
def compare(
    *subjects: AnyPath | ModelReport | Mapping[str, ModelReport],
    leaderboards: AnyPath | None = None,
    runs: AnyPath | None = None,
) -> Listing:
    """Compare models on the same test examples, or rank a leaderboard: ``benchbench compare``.

    Args:
        subjects: reports of `evaluate`, or a mapping of names to reports; or models of leaderboards, by the beginning of an id
            or by columns and options (``"dataset=mnist,defense=trades,beta=6"``); or one or two leaderboards, Parquet files.
        leaderboards: folder of the leaderboards that hold the models; None for ``./leaderboards``.
        runs: folder with outcomes that are not beside a leaderboard; None for the one below ``BENCHBENCH_HOME``.

    Raises:
        UsageError: a subject does not exist, is named twice, or shares no attack or example with another.
    """
    from benchbench.comparison.subjects import compare_subjects
    from benchbench.own_model.pairing import compare_reports
    from benchbench.own_model.report import ModelReport

    if len(subjects) == 1 and isinstance(subjects[0], Mapping):
        return compare_reports(subjects[0])
    reports = {f"model {place}": one for place, one in enumerate(subjects, 1) if isinstance(one, ModelReport)}
    if reports and len(reports) == len(subjects):
        return compare_reports(reports)
    named = [os.fspath(one) for one in subjects if isinstance(one, (str, os.PathLike))]
    if len(named) < len(subjects):
        raise UsageError("reports are compared with reports", hint="or name models, or leaderboards, as texts")
    return compare_subjects(named, find_folders(leaderboards=leaderboards, runs=runs))


@checked
def separation(
    dataset: ComponentEntry,
    *,
    random_labels: bool = False,
    exclude: Collection[int] = (),
    epsilon: float | str | None = None,
    pairs: int = 5,
    seed: int = 0,
    data: AnyPath | None = None,
    download: bool = False,
    listener: Listener | None = None,
) -> SeparationReport:
    """Measure exactly how far apart classes are; see `benchbench.separations.measure`.

    Args:
        dataset: a name, or a mapping of ``name`` and options.
        random_labels: whether to replace the labels by uniform draws (Table 8).
        exclude: indices of training examples to leave out.
        epsilon: L-inf radius to compare with, which may be ``"8/255"``; None for the paper's, if it uses the dataset.
        pairs: number of closest pairs to keep.
        seed: of the random labels.
        data: data root; None for ``BENCHBENCH_DATA``.
        download: whether a missing dataset may be fetched.
        listener: receives the notes of the dataset, for instance which files it left out. None shows them in notebooks.

    Raises:
        UsageError: an unknown dataset, option or excluded index, or a radius that is negative or beyond the box.
        MissingDataError: the data are missing.
        DataError: the data are damaged, or for regression.
    """
    from benchbench.separations import measure
    from benchbench.suite.protocol import protocol_threat

    registry, listener = load_registry(), listener or default_listener()
    if epsilon is None:
        threat = protocol_threat(registry, find_component(registry, "dataset", dataset).name, "linf")
        epsilon = threat.epsilon if threat else None
    splits = load_dataset(dataset, data=data, download=download)
    for message in splits.notes:
        listener(Note(message=message))
    return measure(splits, random_labels=random_labels, exclude=exclude, epsilon=epsilon, pairs=pairs, seed=seed)


@checked
def findings(
    suite: AnyPath, *, profile: str | None = None, leaderboards: AnyPath | None = None, data: AnyPath | None = None
) -> tuple[JudgedFinding, ...]:
    """Judge each finding of a suite from its rows; see `benchbench.reproduction.judging`.

    The profile is one of the suite, ``"published"`` for the published numbers, or None for each that has rows. Other arguments
    are those of `run`; data are needed only where a theorem is tried on a dataset.

    Raises:
        UsageError: an unknown suite or profile, or a suite without findings.
        SuiteError: the suite has mistakes.
    """
    from benchbench.leaderboard import published_rows, read_rows
    from benchbench.leaderboard.separations import read_separations
    from benchbench.reproduction.findings import Grounds, judge_findings
    from benchbench.suite import read_suite

    registry, folders = load_registry(), find_folders(data=data, leaderboards=leaderboards)
    stated = read_suite(suite, registry)
    if not stated.findings:
        raise UsageError(f"suite {stated.name!r} states no findings", hint="a [[findings]] table states one")
    path = folders.leaderboard(stated.name)
    rows = read_rows(path) if path.exists() else published_rows(stated.name)
    separations = read_separations(folders.leaderboards)
    grounds = Grounds(rows=rows, separations=separations, registry=registry, source=folders.source())
    return judge_findings(stated, grounds, profile)
