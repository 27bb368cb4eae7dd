"""The sources of a third-party distribution, however installed, are the identity of its components; comments do not count."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import types
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest
from sample_rows import make_cell

from benchbench.cell.model import Component, to_json
from benchbench.cell.reading import read_cell
from benchbench.checking.evidence import code_changes
from benchbench.contract import Offer, hookimpl
from benchbench.registry import load_registry
from benchbench.registry.sources import (
    distribution_digest,
    distribution_sources,
    plugin_digest,
    sources_digest,
    syntax_digest,
)

FILES = {
    "toy_plug/__init__.py": "from toy_plug.method import Method\n",
    "toy_plug/method.py": "STEP = 0.25\n",
    "toy_plug/deep/kernel.cu": "// two\n",
    "toy_plug/deep/fast.abi3.so": "\x7fELF",
}


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def install(site: Path, files: Mapping[str, str], *, version: str = "1.0", **metadata: str) -> Distribution:
    """Lay out an installed distribution: its files, and metadata files besides."""
    info = f"toy_plug-{version}.dist-info"
    metadata.setdefault("METADATA", f"Metadata-Version: 2.1\nName: toy-plug\nVersion: {version}\n")
    write(site, {**files, **{f"{info}/{name}": text for name, text in metadata.items()}})
    return Distribution.at(site / info)


def record(files: Mapping[str, str]) -> str:
    listed = [
        *files,
        "toy_plug-1.0.dist-info/RECORD",
        "../../bin/toy.py",
        "toy_plug/__pycache__/method.cpython-311.pyc",
    ]
    return "".join(f"{name},,\n" for name in listed)


def installed(site: Path, files: Mapping[str, str] = FILES, version: str = "1.0") -> Distribution:
    return install(site, files, version=version, RECORD=record(files))


def edited_in(project: Path, site: Path, paths: pytest.MonkeyPatch, *, below: str = "src") -> Distribution:
    """An editable install of a project, whose packages are below one of its folders."""
    paths.syspath_prepend(project / below)
    origin = {"url": project.as_uri(), "dir_info": {"editable": True}}
    return install(
        site,
        {"_toy.pth": "", "__editable___finder.py": ""},
        RECORD="_toy.pth,,\n",
        **{"direct_url.json": json.dumps(origin)},
    )


def digest(distribution: Distribution, *modules: str) -> str:
    return sources_digest(distribution_sources(distribution, modules or ("toy_plug",)))


@pytest.fixture(autouse=True)
def forget_modules() -> Any:
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("toy_plug", "toy_core", "toys")]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("toy_plug/method.py", "STEP = 0.25  # as published\n", True),
        ("toy_plug/method.py", "STEP = 0.2\n", False),
        ("toy_plug/deep/kernel.cu", "// three\n", False),
        ("toy_plug/deep/fast.abi3.so", "\x7fELG", False),
        ("toy_plug/table.json", "{}", True),
        ("toy_plug/other.py", "", False),
        ("toy_plug/.ipynb_checkpoints/method.py", "", True),
        ("toy_plug-1.0.dist-info/licence.py", "", True),
    ],
)
def test_digest_of_an_install_is_of_code_alone(tmp_path: Path, name: str, text: str, same: bool) -> None:
    before = digest(installed(tmp_path / "before"))
    after = digest(installed(tmp_path / "after", {**FILES, name: text}))
    assert (before == after) is same
    assert len(before) == 16


def test_release_and_place_change_nothing_and_a_missing_file_is_passed_over(tmp_path: Path) -> None:
    released = installed(tmp_path / "new", version="2.0")
    assert digest(released) == digest(installed(tmp_path / "old"))
    (tmp_path / "new" / "toy_plug" / "method.py").unlink()
    assert digest(released) != digest(installed(tmp_path / "old"))


def test_editable_install_has_the_digest_of_the_other_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "project" / "src", {**FILES, "toy_plug/__pycache__/method.py": "", "unrelated.py": ""})
    write(tmp_path / "project", {"setup.py": "", "tests/test_toy.py": "import toy_plug"})
    edited = edited_in(tmp_path / "project", tmp_path / "site", monkeypatch)
    assert digest(edited) == digest(installed(tmp_path / "other"))
    write(tmp_path / "project" / "src", {"toy_plug/method.py": "STEP = 0.2\n"})
    assert digest(edited) != digest(installed(tmp_path / "other"))


def test_editable_install_counts_what_its_packages_import_of_the_same_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = {
        "toy_plug/__init__.py": 'import json\nimport torch.nn\nimport third\nFACTORY = "toy_core.method:Method"\n',
        "toy_core/__init__.py": "",
        "toy_core/method.py": "def step():\n    from toys.steps import one\n    import single\n",
        "toys/steps/one.py": "from ..sizes import half\n",
        "toys/sizes/half.py": "HALF = 0.5\n",
        "single.py": "",
        "unrelated/__init__.py": "",
        ".venv/lib/site-packages/third.py": "",
    }
    write(tmp_path / "project", project)
    monkeypatch.syspath_prepend(tmp_path / "project" / ".venv" / "lib" / "site-packages")
    edited = edited_in(tmp_path / "project", tmp_path / "site", monkeypatch, below="")
    found = distribution_sources(edited, ["toy_plug"])
    assert sorted(found) == sorted(set(project) - {"unrelated/__init__.py", ".venv/lib/site-packages/third.py"})


def test_portion_of_a_namespace_package_is_taken_without_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path / "project", {"src/toys/plug/__init__.py": "from toys.plug.a import b", "src/toys/plug/a.py": "b = 1"}
    )
    write(tmp_path / "elsewhere", {"toys/other/__init__.py": "", "toys/other/c.py": ""})
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    edited = edited_in(tmp_path / "project", tmp_path / "site", monkeypatch)
    assert sorted(distribution_sources(edited, ["toys.plug.a"])) == ["toys/plug/__init__.py", "toys/plug/a.py"]


def test_single_module_without_a_record_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = install(tmp_path, {"toy_plug.py": "X = 1\n", "neighbour.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    assert list(distribution_sources(distribution, ["toy_plug"])) == ["toy_plug.py"]
    assert digest(distribution) == digest(install(tmp_path / "b", {"toy_plug.py": "X = 1"}, RECORD="toy_plug.py,,\n"))


def test_wheel_on_the_path_is_read_without_being_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path / "site")
    wheel = tmp_path / "toy_plug-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sorted(path for path in (tmp_path / "site").rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(tmp_path / "site"))
    (zipped,) = distributions(name="toy-plug", path=[str(wheel)])
    assert digest(zipped) == digest(installed(tmp_path / "site"))


@pytest.mark.parametrize("origin", ["{", "[]", '{"url": 3, "dir_info": {"editable": true}}', '{"dir_info": {}}'])
def test_damaged_metadata_and_absent_sources_give_no_digest(tmp_path: Path, origin: str) -> None:
    distribution = install(tmp_path, {}, **{"direct_url.json": origin})
    assert digest(distribution, "toy_plug_that_is_nowhere") == ""


def test_distribution_is_read_once_in_a_process(tmp_path: Path) -> None:
    distribution = installed(tmp_path)
    before = distribution_digest(distribution, ["toy_plug"])
    write(tmp_path, {"toy_plug/method.py": "STEP = 0.2\n"})
    assert distribution_digest(distribution, ["toy_plug"]) == before != digest(distribution)


class ToyAttack:
    """Does nothing."""

    def perturb(self, model: Any, images: Any, labels: Any, *, threat: Any, generator: Any) -> Any:
        return images


def test_plugin_that_is_not_installed_goes_by_its_module_or_package_or_the_file_of_its_hooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, FILES)
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {"toy_plug/method.py": "class Method: ...\n"})
    package = importlib.import_module("toy_plug")
    assert plugin_digest(package, []) == digest(
        installed(tmp_path / "site", {**FILES, "toy_plug/method.py": "class Method: ..."})
    )
    here = plugin_digest(sys.modules[__name__], [])
    assert here == plugin_digest(types.SimpleNamespace(), [ToyAttack.perturb]) != ""
    assert plugin_digest(types.ModuleType("nowhere"), [eval("lambda: 1")]) == ""


def toy(version: str = "1.0", name: str = "toy") -> types.ModuleType:
    module = types.ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]
    offers = [Offer(name="toy-attack", summary="A toy.", factory=ToyAttack)]
    module.benchbench_attacks = hookimpl(lambda: offers)  # type: ignore[attr-defined]
    return module


def of_toy(**changes: Any) -> Component:
    resolved = load_registry(extra_plugins=[toy()]).resolve("attack", "toy-attack")
    return dataclasses.replace(resolved, **changes)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"version": "2.0", "distribution": "toy-renamed"}, True),
        ({"sources": "f" * 16}, False),
        ({"revision": 2}, False),
        ({"sources": "", "version": "2.0"}, False),
    ],
)
@pytest.mark.parametrize("placed", [lambda c: c, lambda c: of_toy(options={"inner": (c,)})], ids=["outer", "nested"])
def test_id_follows_the_sources_not_the_release(
    changes: dict[str, Any], same: bool, placed: Callable[[Component], Component]
) -> None:
    attacks = [placed(one) for one in (of_toy(), of_toy(**changes))]
    made = make_cell()
    cells = [dataclasses.replace(made, evaluation=dataclasses.replace(made.evaluation, attack=one)) for one in attacks]
    assert (cells[0].cell_id == cells[1].cell_id) is same
    for cell in cells:
        found = read_cell(to_json(cell))
        assert (found, found.cell_id) == (cell, cell.cell_id)


def test_options_column_tells_nested_plugins_apart_by_their_sources_not_their_release() -> None:
    nested = [of_toy(), of_toy(version="2.0"), of_toy(sources="f" * 16)]
    columns = [make_cell(defense=of_toy(options={"inner": one})).identity()["defense_options"] for one in nested]
    assert columns[0] == columns[1] != columns[2]


def test_built_in_components_have_no_sources() -> None:
    assert load_registry().resolve("attack", "pgd-10").sources == ""


def test_listing_reads_no_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise AssertionError("read")

    monkeypatch.setattr("benchbench.registry.sources.plugin_digest", fail)
    registry = load_registry(extra_plugins=[toy()])
    assert "toy-attack" in {entry.offer.name for entry in registry.offers("attack")}
    with pytest.raises(AssertionError, match="read"):
        registry.resolve("attack", "toy-attack")


def test_code_that_is_not_the_recorded_one_is_named_with_both() -> None:
    registry = load_registry(extra_plugins=[toy()])
    before, here = of_toy(sources="f" * 16), of_toy()
    cell = make_cell(defense=of_toy(name="gone"), architecture=registry.resolve("architecture", "cnn2"))
    llr = registry.resolve("defense", "llr")
    old = dataclasses.replace(llr, revision=1, options={**llr.options, "inner": (before,)})
    assert code_changes(
        dataclasses.replace(cell, training=dataclasses.replace(cell.training, defense=old)), registry
    ) == {
        "defense llr": ("revision 1", f"revision {llr.revision}"),
        "attack toy-attack": (f"revision 1, sources {'f' * 16}", f"revision 1, sources {here.sources}"),
    }


SOURCE = b'''"""What it is."""
from torch import nn

__version__ = "1.0"
STEP = 0.25


class Method:
    """A method."""

    strength: float = 2.0
    """How strong."""

    def loss(self, x, *, beta=1.0):
        """The loss."""
        y = x * beta
        return -y + 3 if y > 0 else {"a": [1, None], **{}}  # signed
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"# signed", b"# unsigned"),
        (b'    """The loss."""', b"    '''Another text.'''"),
        (b'"""What it is."""\n', b""),
        (b'    """How strong."""\n', b""),
        (b"x * beta", b"(x*beta)"),
        (b"0.25", b".250"),
        (b'"1.0"', b'"2.0"'),
        (
            b'__version__ = "1.0"',
            b'__version__ = version = "3"\n__version_tuple__ = (3, 1)\n__commit_id__: str = "abc"',
        ),
        (b"\n", b"\r\n"),
        (b'"a"', b"u'a'"),
    ],
)
def test_what_changes_no_number_changes_no_digest(old: bytes, new: bytes) -> None:
    assert old in SOURCE
    assert syntax_digest(SOURCE.replace(old, new)) == syntax_digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"0.25", b"0.2"),
        (b"STEP", b"STEPS"),
        (b"x * beta", b"x + beta"),
        (b"-y", b"+y"),
        (b"y > 0", b"y >= 0"),
        (b"1, None", b"1"),
        (b"beta=1.0", b"beta=1"),
        (b"beta=1.0", b"beta"),
        (b"strength: float", b"strength: int"),
        (b'__version__ = "1.0"', b'version = "1.0"'),
        (b'__version__ = "1.0"', b"__version__ = read()"),
        (b"from torch import nn", b"from torch import nn as m"),
        (b'"a"', b'b"a"'),
        (b"[1, None]", b"[[1], None]"),
    ],
)
def test_what_may_change_numbers_changes_the_digest(old: bytes, new: bytes) -> None:
    assert old in SOURCE
    assert syntax_digest(SOURCE.replace(old, new)) != syntax_digest(SOURCE)


def test_digest_is_the_same_under_every_python() -> None:
    assert syntax_digest(SOURCE).hex()[:16] == "36292d2bb5613aa1"


@pytest.mark.parametrize("source", [b"def broken(:", b"a\0b", b"x = " + b"-" * 5000 + b"1", b"\xff\xfe"])
def test_what_cannot_be_parsed_counts_by_its_bytes(source: bytes) -> None:
    assert syntax_digest(source) == syntax_digest(source) != syntax_digest(source + b" ")


def test_invalid_escape_warns_nobody_and_a_long_integer_is_read() -> None:
    assert syntax_digest(b"x = '\\d'") != syntax_digest(b"x = '\\w'")
    assert syntax_digest(b"x = 0x" + b"f" * 9000) != syntax_digest(b"x = 0x" + b"e" * 9000)
