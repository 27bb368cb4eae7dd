"""Read a suite and what it extends, and report all mistakes at once, with their lines."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchbench.errors import BenchbenchError, SuiteError, UnknownNameError
from benchbench.registry import Registry
from benchbench.registry.wording import shown
from benchbench.suite.experiments import build_experiment, check_experiment
from benchbench.suite.files import find_suite, parse, read_text
from benchbench.suite.layers import Document, Draft, Layer
from benchbench.suite.lines import Place, find_lines
from benchbench.suite.mistakes import Mistakes
from benchbench.suite.model import Experiment, Settings, Suite
from benchbench.suite.settings import SETTINGS_KEYS, SettingsReader
from benchbench.suite.statements import read_findings

MAXIMUM_NAME = 128  # characters
MAXIMUM_PROFILES = 20
MAXIMUM_EXPERIMENTS = 1_000
MAXIMUM_CELLS = 100_000  # per profile, with all seeds and radii
MAXIMUM_EXTENDS = 8  # suites above a suite

_TEXTS = ("title", "summary", "paper")
_SUITE_KEYS = ("name", "protocol", "extends", *_TEXTS, "seeds", "defaults", "profiles", "experiments", "findings")
_EXPERIMENT_KEYS = ("name", "dataset", "extends", "profiles", "overrides")
_KEBAB_CASE = re.compile(r"[a-z0-9]+([-.][a-z0-9]+)*\Z")


def read_suite(name_or_path: str | os.PathLike[str], registry: Registry) -> Suite:
    """Read a suite by name (else UnknownNameError) or path; a SuiteError has all its mistakes."""
    return _read_file(find_suite(name_or_path, registry), registry, ()).suite


def suite_from_table(
    table: Mapping[str, object], registry: Registry, *, source: str = "suite", lines: Mapping[Place, int] | None = None
) -> Suite:
    """Check a suite as read from TOML; a SuiteError has all of its mistakes."""
    return _read(table, SettingsReader(registry, Mistakes(lines or {})), source, ()).suite


def _read_file(path: Path, registry: Registry, below: tuple[Path, ...]) -> Document:
    """Read a file; `below` are the suites that extend it, the first one last."""
    text = read_text(path)
    return _read(parse(text, path), SettingsReader(registry, Mistakes(find_lines(text))), str(path), below)


def _read(table: Mapping[str, object], reader: SettingsReader, source: str, below: tuple[Path, ...]) -> Document:
    mistakes = reader.mistakes
    mistakes.check_keys(table, (), _SUITE_KEYS)
    base = _base(table, reader, source, below) if "extends" in table else Document()
    texts = {key: mistakes.read(table, key, (), str) for key in _TEXTS}
    name, protocol = (_name(table, key, (), mistakes) for key in ("name", "protocol"))
    if base is None:
        _read_changes(table, reader)
        raise SuiteError(source, mistakes.problems)
    above = base.suite
    shared, profiles = _shared(table, above.profiles, reader)
    drafts = _drafts(table, base, shared, profiles, reader)
    experiments = _built(drafts.values(), profiles, reader)
    suite = Suite(
        name=name,
        protocol=protocol,
        **{key: getattr(above, key) if text is None else text for key, text in texts.items()},
        seeds=shared[0][1].seeds or above.seeds,
        source=source,
        extends=(above.source, *above.extends) if above.source else (),
        experiments=experiments,
        findings=read_findings(table, reader, [one for grid in experiments.values() for one in grid]),
    )
    if mistakes.problems:
        raise SuiteError(source, mistakes.problems)
    return Document(suite=suite, shared=(*base.shared, *shared), drafts=drafts)


def _base(table: Mapping[str, object], reader: SettingsReader, source: str, below: tuple[Path, ...]) -> Document | None:
    """The suite that this one extends; None if it cannot be read, which is noted."""
    mistakes, place = reader.mistakes, ("extends",)
    named = mistakes.read(table, "extends", (), str)
    if named is None:
        return None
    chain = (*below, Path(source).resolve())
    try:
        path = Path(source).parent / find_suite(named, reader.registry)
        if path.resolve() in chain:
            mistakes.add(place, f"{shown(named)} extends this suite, or is it: a circle")
        elif len(chain) > MAXIMUM_EXTENDS:
            mistakes.add(place, f"more than {MAXIMUM_EXTENDS} suites extend one another")
        else:
            return _read_file(path, reader.registry, chain)
    except SuiteError as error:
        for problem in error.problems:
            mistakes.add(place, f"{error.source}: {problem}")
    except BenchbenchError as error:
        mistakes.add_error(place, error)
    return None


def _read_changes(table: Mapping[str, object], reader: SettingsReader) -> None:
    """Note the mistakes in what a suite changes of one that cannot be read."""
    reader.settings(reader.mistakes.table(table, "defaults", ()), ("defaults",))
    for entry, place in reader.mistakes.tables(table, "experiments", ()):
        reader.settings(entry, place, others=_EXPERIMENT_KEYS)


def _shared(
    table: Mapping[str, object], above: Sequence[str], reader: SettingsReader
) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """What the file says for all experiments, its seeds first; and the names of all profiles."""
    defaults = reader.settings(reader.mistakes.table(table, "defaults", ()), ("defaults",))
    own = _profiles(table, (), reader)
    layers = ((None, Settings(seeds=reader.seeds(table, ()))), (None, defaults), *own.items())
    return layers, tuple(dict.fromkeys((*above, *own))) or ("paper",)


def _drafts(
    table: Mapping[str, object],
    base: Document,
    shared: Sequence[Layer],
    profiles: Sequence[str],
    reader: SettingsReader,
) -> dict[str, Draft]:
    """The experiments: those of the suite that this one extends, with changes, then its own."""
    mistakes = reader.mistakes
    tables = mistakes.tables(table, "experiments", ())
    if table.get("experiments", []) == [] and not base.drafts:
        mistakes.add(("experiments",), "missing", "a suite has at least one [[experiments]]")
    if len(tables) + len(base.drafts) > MAXIMUM_EXPERIMENTS:
        mistakes.add(("experiments",), f"more than {MAXIMUM_EXPERIMENTS} experiments")
        return {}
    _check_unique(tables, mistakes)
    drafts = {name: draft.under(shared, ("extends", name)) for name, draft in base.drafts.items()}
    for entry, place in tables:
        draft = _draft(entry, place, base, drafts, shared, profiles, reader)
        drafts[draft.name if draft.name in base.drafts or draft.name not in drafts else repr(place)] = draft
    return drafts


def _draft(
    entry: Mapping[str, object],
    place: Place,
    base: Document,
    drafts: Mapping[str, Draft],
    shared: Sequence[Layer],
    profiles: Sequence[str],
    reader: SettingsReader,
) -> Draft:
    """One experiment: a change of one in the suite above, a new one, or a new one like another."""
    mistakes = reader.mistakes
    mistakes.check_keys(entry, place, (*_EXPERIMENT_KEYS, *SETTINGS_KEYS))
    name = _name(entry, "name", place, mistakes)
    own = reader.settings(entry, place, others=_EXPERIMENT_KEYS)
    changes: tuple[Layer, ...] = ((None, own), *_profiles(entry, place, reader, known=profiles).items())
    like = _like(entry, name, place, base, drafts, mistakes)
    if like is not None:
        draft = dataclasses.replace(like, name=name).under(changes, place)
    else:
        above = base.drafts.get(name, Draft(name=name, layers=base.added))
        draft = above.under((*shared, *changes), place)
    if "dataset" in entry:
        dataset = reader.component("dataset", entry["dataset"], (*place, "dataset"))
        return dataclasses.replace(draft, dataset=dataset)
    if draft.dataset is None and "extends" not in entry:
        mistakes.add((*place, "dataset"), "missing")
    return draft


def _like(
    entry: Mapping[str, object],
    name: str,
    place: Place,
    base: Document,
    drafts: Mapping[str, Draft],
    mistakes: Mistakes,
) -> Draft | None:
    """The experiment that another one extends; None without one."""
    named = mistakes.read(entry, "extends", place, str)
    if named is None:
        return None
    if name in base.drafts:
        mistakes.add((*place, "extends"), f"the suite above has {shown(name)}: this changes it, and extends no other")
    elif named not in drafts:
        mistakes.add_error((*place, "extends"), UnknownNameError("experiment before this one", named, drafts))
    return drafts.get(named)


def _built(
    drafts: Iterable[Draft], profiles: Sequence[str], reader: SettingsReader
) -> dict[str, tuple[Experiment, ...]]:
    """The experiments of each profile, from their layers."""
    found: dict[str, list[Experiment]] = {profile: [] for profile in profiles}
    grids = []
    for draft in drafts:
        of, mistakes = draft.dataset, reader.mistakes
        built = {profile: build_experiment(draft, of, profile, mistakes) for profile in profiles} if of else {}
        variants = {profile: experiment for profile, experiment in built.items() if experiment is not None}
        for profile, experiment in variants.items():
            found[profile].append(experiment)
        grids.append((draft, list(variants.values())))
    if _within_bounds(found, reader.mistakes):
        for draft, checked in grids:
            check_experiment(draft, checked, registry=reader.registry, mistakes=reader.mistakes)
    return {profile: tuple(experiments) for profile, experiments in found.items()}


def _profiles(
    table: Mapping[str, object], place: Place, reader: SettingsReader, *, known: Sequence[str] | None = None
) -> dict[str, Settings]:
    """The profiles of the suite, or an experiment's changes of the known ones."""
    mistakes, at = reader.mistakes, (*place, "profiles")
    tables = mistakes.table(table, "profiles", place)
    if known is not None:
        mistakes.check_keys(tables, at, known)
    elif len(tables) > MAXIMUM_PROFILES:
        mistakes.add(at, f"more than {MAXIMUM_PROFILES} profiles")
        return {}
    for name in tables if known is None else ():
        if not _KEBAB_CASE.match(name):
            mistakes.add((*at, name), "a profile's name must be in kebab-case, for instance quick")
    others = () if known is None else ("overrides",)
    return {name: reader.settings(mistakes.table(tables, name, at), (*at, name), others=others) for name in tables}


def _name(table: Mapping[str, object], key: str, place: Place, mistakes: Mistakes) -> str:
    name: str = mistakes.read(table, key, place, str, "")
    if key not in table:
        mistakes.add((*place, key), "missing")
    elif len(name) > MAXIMUM_NAME:
        mistakes.add((*place, key), f"{len(name)} characters, more than {MAXIMUM_NAME}", "it becomes the name of files")
    elif isinstance(table[key], str) and not _KEBAB_CASE.match(name):
        mistakes.add((*place, key), f"expected kebab-case, got {shown(name)}", "small letters, digits and hyphens")
    return name


def _check_unique(tables: Sequence[tuple[Mapping[str, object], Place]], mistakes: Mistakes) -> None:
    seen: list[str] = []
    for table, place in tables:
        name = table.get("name")
        if isinstance(name, str) and name in seen:
            mistakes.add((*place, "name"), f"another experiment is named {shown(name)} too")
        elif isinstance(name, str):
            seen.append(name)


def _within_bounds(experiments: Mapping[str, Sequence[Experiment]], mistakes: Mistakes) -> bool:
    for profile, grid in experiments.items():
        cells = sum(one.size for one in grid)
        if cells > MAXIMUM_CELLS:
            mistakes.add(("experiments",), f"{cells} cells in profile {profile!r}, more than {MAXIMUM_CELLS}")
            return False
    return True
