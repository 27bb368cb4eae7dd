"""Registered architectures, and callables of the user's, which their source identifies."""

from __future__ import annotations

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
from benchbench.errors import PLUGIN_FAULTS, DataError, PluginError, UsageError
from benchbench.registry import Registry
from benchbench.registry.lookup import ComponentEntry, find_component
from benchbench.registry.sources import file_digest


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
            model = self.function(**{**{key: value for key, value in supplied.items() if key in taken}, **options})
        except PLUGIN_FAULTS as error:  # the user's function may raise any error
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
        sizes = dict.fromkeys(("classes", "num_classes"), classes)  # torchvision and timm use the second name
        return self.own.make(self.component.options, {"input_shape": input_shape, **sizes})


def find_architecture(registry: Registry, entry: ComponentEntry) -> Architecture:
    """Find a registered architecture, or import ``FILE.py:callable`` or ``module:callable``."""
    stated: dict[str, object] = {"name": entry} if isinstance(entry, str) else dict(entry)
    name = str(stated.pop("name", ""))
    if name.endswith(".py"):
        raise UsageError(f"architecture {name!r} is a file", hint=f"name a callable in it: {name}:CALLABLE")
    if ":" not in name or name.partition(":")[0] in {offered.offer.name for offered in registry.offers("architecture")}:
        return Architecture(component=find_component(registry, "architecture", entry))
    own = find_callable(name)
    options = {key: _plain(value, key) for key, value in stated.items()}
    return Architecture(component=_unregistered(name.rpartition(":")[2], own.sources, options), own=own)


def find_callable(name: str) -> OwnCallable:
    """Import a callable of the user's; UsageError if there is none."""
    place, _, attribute = name.rpartition(":")
    try:
        module = _import(place)
        function = getattr(module, attribute)
    except (ImportError, AttributeError, ValueError, OSError) as error:
        hint = "expected FILE.py:callable or module:callable"
        raise UsageError(f"cannot import {name!r}: {error}", hint=hint) from error
    except PLUGIN_FAULTS as error:  # the user's module may raise any error
        raise PluginError(f"{name!r} raised {type(error).__name__}: {error}") from error
    return OwnCallable(name=name, function=function, sources=_digest_of(getattr(module, "__file__", None)))


def class_component(model: object) -> Component:
    """A component for a module's class, identified by its file unless that is in a package."""
    try:
        file = inspect.getsourcefile(type(model))
    except (TypeError, OSError):  # defined in a notebook
        file = None
    in_package = file is not None and Path(file).with_name("__init__.py").exists()
    return _unregistered(type(model).__name__, "" if in_package else _digest_of(file), {})


def is_registered(component: Component) -> bool:
    """Whether a recorded architecture is a plugin's or built in, and no callable."""
    return component.distribution != ""


def fits(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether a state has the names and shapes of a network's; a lazy layer takes any shape."""
    own = network.state_dict()
    return own.keys() == state.keys() and all(
        is_lazy(value) or value.shape == state[name].shape for name, value in own.items() if isinstance(value, Tensor)
    )


def _unregistered(name: str, sources: str, options: Mapping[str, object]) -> Component:
    """A component without distribution; the prefix tells its name from registered ones."""
    return Component(
        kind="architecture", name=f"file:{name}", options=options, distribution="", version="", sources=sources
    )


def _digest_of(file: str | None) -> str:
    return file_digest(Path(file)) if file is not None and Path(file).is_file() else ""


def _plain(value: object, name: str) -> object:
    """An option as a row can hold it."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(one, name) for one in value)
    if not isinstance(value, (bool, int, float, str)):
        raise UsageError(f"option {name} is {value!r:.60}, expected numbers and texts, or lists of them")
    return value


def _import(place: str) -> ModuleType:
    """Import a file that may import others of its folder, or a module."""
    path = Path(place).resolve()
    folder = str(path.parent if place.endswith(".py") else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(f"benchbench_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
