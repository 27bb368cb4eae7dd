"""Discovery, unique names, options, and the isolation of broken plugins."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from benchbench.contract import Capabilities, Offer, hookimpl
from benchbench.errors import ContractError, OptionError, PluginError, UnknownNameError, UsageError
from benchbench.registry import InvalidOptionsError, Registry, load_registry
from benchbench.registry.options import convert
from benchbench.version import DISTRIBUTION


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A toy attack with an option of each type."""

    strength: float = 1
    steps: int = 5
    clip: bool = True
    label: str = "x"
    levels: tuple[float, ...] = ()
    corner: tuple[int, int] = (0, 0)
    variant: Literal["equation", "released"] = "equation"
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError("steps must be at least 1")

    def perturb(self, model: Any, images: Any, labels: Any, *, threat: Any, generator: Any) -> Any:
        return images


def make_member(*, member: str, size: int = 2) -> types.SimpleNamespace:
    return types.SimpleNamespace(perturb=lambda *a, **k: (member, size))


def needing(*, level: int) -> Shift:
    return Shift(steps=level)


def build_network(*, input_shape: tuple[int, ...], classes: int, depth: int = 40) -> Any:
    network = functools.partial(int)
    network.state_dict = dict  # type: ignore[attr-defined]
    network.seen = (input_shape, classes, depth)  # type: ignore[attr-defined]
    return network


def attack(name: str, factory: Any = Shift, **more: Any) -> Offer:
    return Offer(name=name, summary="A toy.", factory=factory, **more)


def plugin(name: str = "toy", **hooks: Callable[[], Any]) -> types.ModuleType:
    module = types.ModuleType(name)
    for hook, function in hooks.items():
        setattr(module, hook, function)
    return module


def offering(kind_hook: str, *offers: Any, name: str = "toy") -> types.ModuleType:
    return plugin(name, **{kind_hook: hookimpl(lambda: offers)})


def with_attacks(*offers: Any, name: str = "toy") -> Registry:
    return load_registry(extra_plugins=[offering("benchbench_attacks", *offers, name=name)])


def toy_problems(registry: Registry) -> list[str]:
    return [problem.error for problem in registry.problems if problem.distribution != DISTRIBUTION]


def test_importing_and_discovering_loads_no_heavy_library() -> None:
    heavy = ("torch", "numpy", "pyarrow", "timm", "foolbox", "torchvision")
    code = (
        "import sys; from benchbench.registry import load_registry; load_registry().offers('attack');"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_builtin_plugin_comes_first_and_is_healthy() -> None:
    first = load_registry().plugins[0]
    assert (first.distribution, first.target, first.problems) == (DISTRIBUTION, "benchbench.builtin", ())


def test_fifty_plugins_are_discovered_in_a_fifth_of_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        install(tmp_path, f"toy_{number}", "", distribution=f"toy-{number}")
    monkeypatch.syspath_prepend(tmp_path)
    load_registry()  # imports the plugin modules' bytecode once
    started = time.process_time()
    registry = load_registry()
    seconds = time.process_time() - started
    assert len([p for p in registry.plugins if p.distribution.startswith("toy-")]) == 50
    assert seconds < 0.2


def install(folder: Path, module: str, source: str, *, distribution: str, version: str = "1.2.3") -> None:
    """Lay out an installed distribution: a module, and the metadata that names it as a plugin."""
    body = source or (
        "from benchbench.contract import Offer, hookimpl\n"
        "@hookimpl\n"
        "def benchbench_attacks():\n"
        f"    return [Offer(name={distribution!r}, summary='A toy.', factory='tests.registry.test_discovery:Shift')]\n"
    )
    (folder / f"{module}.py").write_text(body)
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[benchbench]\n{module} = {module}\n")


def test_malformed_entry_point_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "toy_typo", "", distribution="toy-typo")
    (tmp_path / "toy_typo-1.2.3.dist-info" / "entry_points.txt").write_text("[benchbench]\ntypo = toy typo:plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = (one for one in load_registry().problems if one.distribution == "toy-typo")
    assert "the entry point 'typo' is 'toy typo:plugin', expected module, or module:attribute" in problem.error


def test_installed_plugin_is_found_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "toy_found", "", distribution="toy-found")
    monkeypatch.syspath_prepend(tmp_path)
    found = load_registry().get("attack", "toy-found")
    assert (found.distribution, found.version, found.plugin) == ("toy-found", "1.2.3", "toy_found")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import nothing_like_this\n", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("x = 1\nraise RuntimeError('no luck')\n", "toy_broken.py, line 2"),
        ("def broken(:\n", "SyntaxError"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    ],
)
def test_plugin_that_fails_to_import_is_listed_and_the_rest_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: str
) -> None:
    install(tmp_path, "toy_broken", source, distribution="toy-broken")
    install(tmp_path, "toy_whole", "", distribution="toy-whole")
    monkeypatch.syspath_prepend(tmp_path)
    registry = load_registry()
    (problem,) = [p for p in registry.problems if p.distribution == "toy-broken"]
    assert expected in problem.error
    assert problem.traceback
    assert registry.get("attack", "toy-whole").distribution == "toy-whole"
    with pytest.raises(UnknownNameError, match="toy-broken; see 'benchbench plugins doctor'"):
        registry.get("attack", "toy-missing-name")


@pytest.mark.parametrize("result", [None, 3, "offers", attack("one")])
def test_hook_with_wrong_return_type_is_a_problem(result: Any) -> None:
    registry = load_registry(extra_plugins=[plugin(benchbench_attacks=hookimpl(lambda: result))])
    (problem,) = toy_problems(registry)
    assert "returned" in problem
    assert "expected" in problem


def test_hook_that_raises_leaves_the_other_hooks_of_the_plugin() -> None:
    def fail() -> Any:
        raise ValueError("broken hook")

    module = plugin(benchbench_attacks=hookimpl(fail), benchbench_metrics=hookimpl(lambda: [attack("count")]))
    registry = load_registry(extra_plugins=[module])
    assert registry.get("metric", "count").kind == "metric"
    assert "broken hook" in toy_problems(registry)[0]


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        (object(), "expected an Offer"),
        (attack("Not Kebab"), "kebab-case"),
        (attack("a", factory="no colon"), "factory must be"),
        (attack("a", preset={3: 4}), "preset must map"),
        (attack("a", members=5), "members must be"),
        (attack("a", capabilities=Capabilities(norms=("l7",))), "expected one of 'linf', 'l2', 'l1', got 'l7'"),  # type: ignore[arg-type]
        (attack("a", capabilities=Capabilities(fills=("seed",))), "fills 'seed', which is no column"),
        (attack("a", capabilities=Capabilities(norms=5)), "norms of its capabilities: expected a list"),  # type: ignore[arg-type]
        (attack("a", capabilities=Capabilities(requires={"x": 3})), "requires of its capabilities"),  # type: ignore[arg-type]
        (attack("a", capabilities=Capabilities(smallest_input=8)), "smallest_input of its"),  # type: ignore[arg-type]
        (Offer(name="a", summary="two\nlines", factory=Shift), "summary must be one line"),
        (attack("a", label="two\nlines"), "label must be at most one line"),
        (attack("a", shown=["steps"]), "shown must be a tuple"),
    ],
)
def test_malformed_offer_is_a_problem(offer: Any, expected: str) -> None:
    registry = with_attacks(offer)
    assert expected in toy_problems(registry)[0]


def test_malformed_offer_leaves_the_well_formed_ones() -> None:
    registry = with_attacks(object(), attack("fine"), attack("fine"))
    assert registry.get("attack", "fine").offer.summary == "A toy."
    assert "offered twice" in toy_problems(registry)[1]


def test_misspelled_hook_is_a_problem_with_the_nearest_name() -> None:
    registry = load_registry(extra_plugins=[plugin(benchbench_atacks=hookimpl(lambda: ()))])
    assert "did you mean 'benchbench_attacks'" in toy_problems(registry)[0]


def test_hook_without_marker_is_a_problem() -> None:
    registry = load_registry(extra_plugins=[plugin(benchbench_attacks=lambda: ())])
    assert "not marked with @hookimpl" in toy_problems(registry)[0]


def test_clash_names_both_distributions_and_spares_other_names() -> None:
    modules = [offering("benchbench_attacks", attack("same"), attack(name), name=name) for name in ("one", "two")]
    registry = load_registry(extra_plugins=modules)
    with pytest.raises(PluginError, match=r"one .* and two .*neither can be used"):
        registry.get("attack", "same")
    assert registry.get("attack", "one").distribution == "one"
    assert {p.name for p in registry.plugins if p.problems} == {"one", "two"}


def test_builtin_keeps_its_name_and_the_plugin_is_reported() -> None:
    registry = load_registry(extra_plugins=[offering("benchbench_suites", attack("closer-look"))])
    assert registry.get("suite", "closer-look").built_in
    assert "the built-in one is used" in toy_problems(registry)[0]
    assert registry.plugins[0].problems == ()


def test_options_are_read_from_the_signature() -> None:
    specs = {spec.name: spec for spec in with_attacks(attack("shift")).options("attack", "shift")}
    assert list(specs) == ["strength", "steps", "clip", "label", "levels", "corner", "variant", "limit"]
    assert isinstance(specs["strength"].default, float)  # an integer default becomes what the type says
    assert not specs["strength"].required


def test_lazy_factory_is_imported_on_first_use() -> None:
    registry = with_attacks(attack("shift", factory=f"{__name__}:Shift"))
    assert registry.resolve("attack", "shift").options["steps"] == 5


@pytest.mark.parametrize("reference", ["no.such.module:thing", f"{__name__}:Nothing"])
def test_factory_that_cannot_be_imported_fails_where_it_is_used(reference: str) -> None:
    registry = with_attacks(attack("lost", factory=reference))
    with pytest.raises(PluginError, match="cannot import"):
        registry.resolve("attack", "lost")


def test_resolve_converts_what_toml_cannot_tell_apart() -> None:
    given = {"strength": "4/2", "levels": [1, "5/2"], "corner": [3, 4], "limit": 1, "variant": "released"}
    options = with_attacks(attack("shift")).resolve("attack", "shift", given).options
    assert options == {
        "strength": 2.0, "steps": 5, "clip": True, "label": "x", "levels": (1.0, 2.5), "corner": (3, 4),
        "variant": "released", "limit": 1.0,
    }  # fmt: skip
    assert [type(value) for value in (options["strength"], options["limit"], options["levels"][0])] == [float] * 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"steps": True}, "steps: expected an integer, got the boolean True"),
        ({"steps": 2.0}, "steps: expected an integer"),
        ({"strength": False}, "strength: expected a number"),
        ({"strength": float("nan")}, "strength: expected a finite number"),
        ({"strength": "2"}, "strength: expected a number, got '2'"),
        ({"strength": "1e999/2"}, "strength: expected a finite number"),
        ({"strength": 10**400}, "strength: expected a finite number"),
        ({"clip": 1}, "clip: expected true or false"),
        ({"label": 3}, "label: expected a text"),
        ({"levels": 3}, "levels: expected a list"),
        ({"corner": [1, 2, 3]}, "corner: expected 2 entries, got 3"),
        ({"variant": "relased"}, "did you mean 'released'"),
        ({"limit": "x"}, "limit: expected a number"),
        ({"stepps": 3}, "did you mean 'steps'"),
    ],
)
def test_mistaken_option_is_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidOptionsError, match="attack 'shift'") as caught:
        with_attacks(attack("shift")).resolve("attack", "shift", given)
    assert expected in str(caught.value)


def test_all_mistaken_options_are_reported_together() -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        with_attacks(attack("shift")).resolve("attack", "shift", {"steps": "x", "clip": 0, "other": 1})
    assert {problem.option for problem in caught.value.problems} == {"steps", "clip", "other"}


def test_missing_required_option_is_refused() -> None:
    with pytest.raises(InvalidOptionsError, match="level: required option is missing"):
        with_attacks(attack("needing", factory=needing)).resolve("attack", "needing")


def test_constructor_checks_the_range() -> None:
    with pytest.raises(OptionError, match="steps must be at least 1"):
        with_attacks(attack("shift")).resolve("attack", "shift", {"steps": 0})


def test_preset_is_filled_in_and_cannot_be_overridden() -> None:
    registry = with_attacks(attack("shift-10", preset={"steps": 10, "strength": 3}))
    assert registry.resolve("attack", "shift-10", {"clip": False}).options["steps"] == 10
    with pytest.raises(InvalidOptionsError, match="fixed to the integer 10"):
        registry.resolve("attack", "shift-10", {"steps": 10})
    fixed = [spec.name for spec in registry.options("attack", "shift-10") if spec.fixed]
    assert fixed == ["strength", "steps"]


def test_preset_for_an_option_that_is_not_there_is_a_plugin_error() -> None:
    with pytest.raises(PluginError, match="unknown option"):
        with_attacks(attack("odd", preset={"nothing": 1})).resolve("attack", "odd")


def test_shown_option_that_is_not_there_is_a_plugin_error() -> None:
    with pytest.raises(PluginError, match="shown names no option: stepz"):
        with_attacks(attack("odd", shown=("steps", "stepz"))).resolve("attack", "odd")


def test_factory_with_untyped_parameter_is_a_plugin_error() -> None:
    def untyped(*, level=3):  # type: ignore[no-untyped-def]
        return Shift(steps=level)

    with pytest.raises(PluginError, match="no suite can set") as caught:
        with_attacks(attack("untyped", factory=untyped)).resolve("attack", "untyped")
    assert "'level' has no type" in str(caught.value)


def test_factory_that_makes_something_else_breaks_the_contract() -> None:
    with pytest.raises(ContractError, match="made a dict, expected: Attack"):
        with_attacks(attack("odd", factory=dict)).make("attack", with_attacks(attack("odd")).resolve("attack", "odd"))


def test_constructor_that_raises_is_a_plugin_error_with_the_line() -> None:
    def broken() -> Any:
        raise ZeroDivisionError("oh")

    with pytest.raises(PluginError, match=r"ZeroDivisionError: oh \(.*test_discovery.py, line \d+\)"):
        with_attacks(attack("broken", factory=broken)).resolve("attack", "broken")


def test_architecture_is_made_from_what_the_host_supplies() -> None:
    offer = attack("net", factory=build_network)
    registry = load_registry(extra_plugins=[offering("benchbench_architectures", offer)])
    assert [spec.name for spec in registry.options("architecture", "net")] == ["depth"]
    component = registry.resolve("architecture", "net", {"depth": 4})
    assert registry.make("architecture", component, input_shape=(1, 2, 3), classes=7).seen == ((1, 2, 3), 7, 4)


def test_family_makes_its_members() -> None:
    registry = with_attacks(attack("many", factory=make_member, members=lambda: ["beta", "alpha"]))
    component = registry.resolve("attack", "many:alpha", {"size": 3})
    assert (component.name, component.options) == ("many:alpha", {"size": 3})
    assert registry.make("attack", component).perturb() == ("alpha", 3)
    assert registry.members("attack", "many") == ("alpha", "beta")


def test_family_without_member_and_unknown_member_are_refused() -> None:
    registry = with_attacks(attack("many", factory=make_member, members=lambda: ["alpha"]), attack("single"))
    with pytest.raises(UsageError, match="is a family"):
        registry.get("attack", "many")
    with pytest.raises(UnknownNameError, match="did you mean 'many:alpha'"):
        registry.resolve("attack", "many:alpah")
    with pytest.raises(UnknownNameError, match="did you mean 'single'"):
        registry.get("attack", "single:thing")


def test_family_that_cannot_list_its_members_is_a_plugin_error() -> None:
    registry = with_attacks(attack("many", factory=make_member, members="no.such.module:names"))
    with pytest.raises(PluginError, match="cannot import"):
        registry.resolve("attack", "many:alpha")


def test_unknown_name_and_kind_suggest_the_nearest() -> None:
    registry = with_attacks(attack("shift"))
    with pytest.raises(UnknownNameError, match="did you mean 'shift'"):
        registry.get("attack", "shfit")
    with pytest.raises(UnknownNameError, match="did you mean 'attack'"):
        registry.offers("atack")  # type: ignore[arg-type]


def test_offers_are_sorted_and_of_one_kind() -> None:
    registry = with_attacks(attack("zeta"), attack("alpha"))
    names = [entry.offer.name for entry in registry.offers("attack")]
    assert names == sorted(names)
    assert {"zeta", "alpha"} <= set(names)
    assert "zeta" not in [entry.offer.name for entry in registry.offers("defense")]


@pytest.mark.parametrize("value", [True, 1.0, "1", 3])
def test_a_choice_is_of_the_type_of_its_alternatives(value: object) -> None:
    assert convert(Literal[1, 2], 1) == 1
    with pytest.raises(OptionError, match="expected one of 1, 2"):
        convert(Literal[1, 2], value)
