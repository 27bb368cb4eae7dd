"""Architectures: registered ones, and the user's own callables, which their source identifies."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from benchbench.cell.model import Component
from benchbench.errors import DataError, PluginError, UsageError
from benchbench.registry import Registry
from benchbench.registry.lookup import ComponentEntry, find_component
from benchbench.registry.sources import file_digest

_OWN = "file"  # before the callable's name in rows; the path is nobody's identity
_OF_ROWS = ""  # the distribution of such a component: no registered one has an empty name


@dataclass(frozen=True, kw_only=True)
class OwnCallable:
    """A callable that makes a network, in a file or module of the user's."""

    name: str  # as the user wrote it: ``networks.py:resnet`` or ``networks:resnet``
    function: Callable[..., object]
    sources: str  # digest of the file and of what it imports from its folder; empty if there is no file

    def make(self, options: Mapping[str, object], supplied: Mapping[str, object]) -> nn.Module:
        """Call it with the options, and with those of `supplied` that it takes."""
        try:
            taken = inspect.signature(self.function).parameters
            model = self.function(**{key: value for key, value in supplied.items() if key in taken}, **options)
        except Exception as error:  # the user's function may raise any error
            raise PluginError(f"{self.name!r} raised {type(error).__name__}: {error}") from error
        if not isinstance(model, nn.Module):
            raise DataError(f"{self.name!r} made a {type(model).__name__}, expected: nn.Module")
        return model


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """An architecture that can be made here."""

    component: Component
    own: OwnCallable | None = None  # None for a registered one

    @property
    def name(self) -> str:
        """As the user writes it."""
        return self.own.name if self.own else self.component.name

    def make(self, registry: Registry, *, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """A new network, with weights as they come."""
        if self.own is None:
            return registry.make("architecture", self.component, input_shape=input_shape, classes=classes)
        return self.own.make(self.component.options, {"input_shape": input_shape, "classes": classes})


def find_architecture(registry: Registry, entry: ComponentEntry) -> Architecture:
    """Find a registered architecture, or import ``FILE.py:callable`` or ``module:callable``."""
    name = entry if isinstance(entry, str) else str(entry.get("name", ""))
    registered = {offered.offer.name for offered in registry.offers("architecture")}
    if ":" not in name or name.partition(":")[0] in registered:
        return Architecture(component=find_component(registry, "architecture", entry))
    options = {} if isinstance(entry, str) else {key: _plain(entry[key], key) for key in entry if key != "name"}
    own = find_callable(name)
    return Architecture(component=_component(name.rpartition(":")[2], own.sources, options), own=own)


def find_callable(name: str) -> OwnCallable:
    """Import a callable of the user's; UsageError if there is none."""
    place, _, attribute = name.rpartition(":")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
        function = getattr(module, attribute)
    except (ImportError, AttributeError, ValueError, OSError) as error:
        hint = "expected FILE.py:callable or module:callable"
        raise UsageError(f"cannot import {name!r}: {error}", hint=hint) from error
    except Exception as error:  # the user's module may raise any error
        raise PluginError(f"{name!r} raised {type(error).__name__}: {error}") from error
    file = getattr(module, "__file__", None)
    return OwnCallable(name=name, function=function, sources=file_digest(Path(file)) if file else "")


def fits(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether a state has the names and shapes of a network's; a lazy layer takes any shape."""
    own = network.state_dict()
    return own.keys() == state.keys() and all(
        is_lazy(value) or value.shape == state[name].shape for name, value in own.items() if isinstance(value, Tensor)
    )


def is_registered(component: Component) -> bool:
    """Whether a recorded architecture is a plugin's or built in, and not a callable of somebody's."""
    return component.distribution != _OF_ROWS


def class_component(model: object) -> Component:
    """What stands for the architecture of a module: its class, and the file that defines it if that is no package's."""
    try:
        file = inspect.getsourcefile(type(model))
    except (TypeError, OSError):  # defined in a notebook
        file = None
    alone = file is not None and Path(file).is_file() and not Path(file).with_name("__init__.py").exists()
    return _component(type(model).__name__, file_digest(Path(file)) if file and alone else "", {})


def _component(name: str, sources: str, options: Mapping[str, object]) -> Component:
    return Component(
        kind="architecture",
        name=f"{_OWN}:{name}",
        options=options,
        distribution=_OF_ROWS,
        version="",
        sources=sources,
    )


def _plain(value: object, name: str) -> object:
    """An option as a row can hold it."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(one, name) for one in value)
    if not isinstance(value, (bool, int, float, str)):
        raise UsageError(f"option {name} is {value!r:.60}, expected numbers and texts, or lists of them")
    return value


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    _search_in(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(f"benchbench_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    _search_in(Path.cwd())  # the installed command, unlike ``python -m``, does not look in the current folder
    return importlib.import_module(name)


def _search_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
