"""Find and read a suite within bounds; report all mistakes at once, with their lines."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchbench.errors import Problem, SuiteError
from benchbench.registry import Registry
from benchbench.registry.wording import shown
from benchbench.suite.experiments import build_experiment, check_experiment
from benchbench.suite.lines import DEEPEST, Place, find_lines
from benchbench.suite.mistakes import Mistakes
from benchbench.suite.model import Experiment, Settings, Suite
from benchbench.suite.settings import SETTINGS_KEYS, SettingsReader
from benchbench.suite.statements import read_findings

MAXIMUM_NAME = 128  # characters
MAXIMUM_PROFILES = 20
MAXIMUM_EXPERIMENTS = 1_000
MAXIMUM_SEEDS = 1_000
MAXIMUM_CELLS = 100_000  # per profile, with all seeds

_TEXTS = ("title", "summary", "paper")
_SUITE_KEYS = ("name", *_TEXTS, "protocol", "seeds", "defaults", "profiles", "experiments", "findings")
_EXPERIMENT_KEYS = ("name", "dataset", "profiles", "overrides")
_KEBAB_CASE = re.compile(r"[a-z0-9]+([-.][a-z0-9]+)*\Z")


def read_suite(name_or_path: str | os.PathLike[str], registry: Registry) -> Suite:
    """Read a suite by name (else UnknownNameError) or path; a SuiteError has all its mistakes."""
    path = find_suite(name_or_path, registry)
    text = read_text(path)
    return suite_from_table(parse(text, path), registry, source=str(path), lines=find_lines(text))


def suite_from_table(
    table: Mapping[str, Any], registry: Registry, *, source: str = "suite", lines: Mapping[Place, int] | None = None
) -> Suite:
    """Check a suite as read from TOML; a SuiteError has all of its mistakes."""
    mistakes = Mistakes(lines or {})
    mistakes.check_keys(table, (), _SUITE_KEYS)
    texts = {key: mistakes.read(table, key, (), str, "") for key in _TEXTS}
    reader = SettingsReader(registry, mistakes)
    experiments = _experiments(table, reader)
    suite = Suite(
        name=_name(table, "name", (), mistakes),
        protocol=_name(table, "protocol", (), mistakes),
        **texts,
        seeds=_seeds(table, mistakes),
        source=source,
        experiments=experiments,
        findings=read_findings(table, reader, [one for grid in experiments.values() for one in grid]),
    )
    if mistakes.problems:
        raise SuiteError(source, mistakes.problems)
    return suite


def _experiments(table: Mapping[str, Any], reader: SettingsReader) -> dict[str, tuple[Experiment, ...]]:
    mistakes = reader.mistakes
    defaults = reader.settings(mistakes.table(table, "defaults", ()), ("defaults",))
    profiles = _profiles(table, (), reader) or {"paper": Settings()}
    tables = mistakes.tables(table, "experiments", ())
    if table.get("experiments", []) == []:
        mistakes.add(("experiments",), "missing", "a suite has at least one [[experiments]]")
    if len(tables) > MAXIMUM_EXPERIMENTS:
        mistakes.add(("experiments",), f"more than {MAXIMUM_EXPERIMENTS} experiments")
        return {}
    _check_unique(tables, mistakes)
    found: dict[str, list[Experiment]] = {profile: [] for profile in profiles}
    grids = []
    for entry, place in tables:
        variants = _variants(entry, place, defaults, profiles, reader)
        grids.append((variants, place))
        for profile, experiment in variants.items():
            found[profile].append(experiment)
    seeds = table.get("seeds", [0])
    if _within_bounds(found, len(seeds) if isinstance(seeds, list) else 1, mistakes):
        for variants, place in grids:
            check_experiment(list(variants.values()), registry=reader.registry, place=place, mistakes=mistakes)
    return {profile: tuple(experiments) for profile, experiments in found.items()}


def _variants(
    table: Mapping[str, Any], place: Place, defaults: Settings, profiles: Mapping[str, Settings], reader: SettingsReader
) -> dict[str, Experiment]:
    """One experiment in the variant of each profile."""
    mistakes = reader.mistakes
    mistakes.check_keys(table, place, (*_EXPERIMENT_KEYS, *SETTINGS_KEYS))
    name = _name(table, "name", place, mistakes)
    dataset = reader.component("dataset", table["dataset"], (*place, "dataset")) if "dataset" in table else None
    if "dataset" not in table:
        mistakes.add((*place, "dataset"), "missing")
    own = reader.settings(table, place, others=_EXPERIMENT_KEYS)
    changed = _profiles(table, place, reader, known=tuple(profiles))
    variants: dict[str, Experiment] = {}
    if dataset is None:
        return variants
    for profile, settings in profiles.items():
        layers = (defaults, own, settings, changed.get(profile, Settings()))
        experiment = build_experiment(name, dataset, layers, place=place, mistakes=mistakes)
        variants.update({} if experiment is None else {profile: experiment})
    return variants


def _profiles(
    table: Mapping[str, Any], place: Place, reader: SettingsReader, *, known: Sequence[str] | None = None
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


def _name(table: Mapping[str, Any], key: str, place: Place, mistakes: Mistakes) -> str:
    name: str = mistakes.read(table, key, place, str, "")
    if key not in table:
        mistakes.add((*place, key), "missing")
    elif len(name) > MAXIMUM_NAME:
        mistakes.add((*place, key), f"{len(name)} characters, more than {MAXIMUM_NAME}", "it becomes the name of files")
    elif isinstance(table[key], str) and not _KEBAB_CASE.match(name):
        mistakes.add((*place, key), f"expected kebab-case, got {shown(name)}", "small letters, digits and hyphens")
    return name


def _seeds(table: Mapping[str, Any], mistakes: Mistakes) -> tuple[int, ...]:
    seeds: tuple[int, ...] = mistakes.read(table, "seeds", (), tuple[int, ...], (0,))
    if not seeds or len(seeds) > MAXIMUM_SEEDS or len(set(seeds)) < len(seeds):
        mistakes.add(("seeds",), f"expected 1 to {MAXIMUM_SEEDS} different seeds")
    if any(not 0 <= seed < 2**63 for seed in seeds):
        mistakes.add(("seeds",), "a seed must be at least 0 and below 2**63")
    return seeds


def _check_unique(tables: Sequence[tuple[Mapping[str, Any], Place]], mistakes: Mistakes) -> None:
    seen: list[str] = []
    for table, place in tables:
        name = table.get("name")
        if isinstance(name, str) and name in seen:
            mistakes.add((*place, "name"), f"another experiment is named {shown(name)} too")
        elif isinstance(name, str):
            seen.append(name)


def _within_bounds(experiments: Mapping[str, Sequence[Experiment]], seeds: int, mistakes: Mistakes) -> bool:
    for profile, grid in experiments.items():
        cells = seeds * sum(len(e.architectures) * len(e.defenses) * len(e.attacks) for e in grid)
        if cells > MAXIMUM_CELLS:
            mistakes.add(("experiments",), f"{cells} cells in profile {profile!r}, more than {MAXIMUM_CELLS}")
            return False
    return True


MAXIMUM_BYTES = 1 << 20
MAXIMUM_LINE = 10_000  # characters

# The parser takes quadratic time for a key of many parts; this finds one where a key may begin, and more seldom in a text.
_DEEP_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*+(?:(?:[A-Za-z0-9_-]++|"(?:\\.|[^"\\\n])*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)"""
    f"{{{DEEPEST}}}",
    re.MULTILINE,
)
_PARSER_LINE = re.compile(r"\(at line (\d+)")


def find_suite(name_or_path: str | os.PathLike[str], registry: Registry) -> Path:
    """The file of a suite, by path (with ``.toml`` or a separator in it) or by registered name."""
    text = os.fspath(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or any(sep in text for sep in ("/", os.sep)):
        return Path(text)
    return Path(registry.make("suite", registry.resolve("suite", text)))


def read_text(path: Path) -> str:
    """Read a suite's file: UTF-8, at most 1 MiB; otherwise raise `SuiteError`."""
    try:
        if not path.exists():
            raise _file_error(path, "there is no such file", "give the path of a TOML file, or the name of a suite")
        if not path.is_file():
            raise _file_error(path, "not a file", "give the path of a TOML file, or the name of a suite")
        with path.open("rb") as file:
            content = file.read(MAXIMUM_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise _file_error(path, f"cannot be read: {error}") from error
    if len(content) > MAXIMUM_BYTES:
        raise _file_error(path, f"larger than {MAXIMUM_BYTES} bytes", "a suite is a short text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _file_error(path, f"not UTF-8: byte {content[error.start]:#04x}", line=line) from error


def parse(text: str, path: Path) -> dict[str, object]:
    """Parse a suite's text; raise `SuiteError` with the line if it is not TOML."""
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAXIMUM_LINE:
            raise _file_error(path, f"a line of more than {MAXIMUM_LINE} characters", line=number)
    if found := _DEEP_KEY.search(text):
        number = text.count("\n", 0, found.end()) + 1
        raise _file_error(path, f"a key of more than {DEEPEST} parts", line=number)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _file_error(path, "nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of too many digits
        where = _PARSER_LINE.search(str(error))
        raise _file_error(path, f"not TOML: {error}", line=int(where.group(1)) if where else None) from error


def _file_error(path: Path, message: str, hint: str = "", *, line: int | None = None) -> SuiteError:
    return SuiteError(str(path), [Problem(location="file", message=message, hint=hint, line=line)])
