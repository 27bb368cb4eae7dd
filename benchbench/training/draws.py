"""The draws of a step that is recorded: made anew for each batch, in buffers that stay where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from benchbench.contract import KeyedGenerator
from benchbench.errors import ContractError


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What was asked of which generator, by the order in which generators came up; 0 is the batch's own."""

    source: int
    method: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def made(self, generators: list[KeyedGenerator]) -> Any:
        return getattr(generators[self.source], self.method)(*self.arguments, **self.options)


class DrawTape:
    """What a defense draws for a batch, noted the first time and made again for each batch that follows."""

    def __init__(self) -> None:
        self._requests: list[_Request] = []
        self._buffers: list[Tensor | int] = []  # what was drawn, or the number of the child generator
        self._generators: list[KeyedGenerator] = []
        self._next = 0

    def begin(self, generator: KeyedGenerator) -> None:
        """Draw for another batch whatever was drawn for the first one."""
        self._generators = [generator]
        for request, buffer in zip(self._requests, self._buffers):
            drawn = request.made(self._generators)
            if isinstance(buffer, Tensor):
                buffer.copy_(drawn)
            else:
                self._generators.append(drawn)

    def rewound(self) -> KeyedGenerator:
        """A generator that hands out these draws once more, from the first on."""
        self._next = 0
        return cast(KeyedGenerator, _Taped(self, 0))

    def answer(self, asked: _Request) -> Tensor | _Taped:
        """A copy of the next draw, which may be changed in place, or a child generator.

        Raises:
            ContractError: the defense asks for something else than it did for the first batch.
        """
        if self._next == len(self._requests):
            self._note(asked)
        request, buffer = self._requests[self._next], self._buffers[self._next]
        if request != asked:
            raise ContractError(
                f"a defense that says that its steps can be recorded drew {request.method} for the first batch, "
                f"and now {asked.method}, or in another shape"
            )
        self._next += 1
        return buffer.clone() if isinstance(buffer, Tensor) else _Taped(self, buffer)

    def _note(self, asked: _Request) -> None:
        drawn = asked.made(self._generators)
        self._requests.append(asked)
        if isinstance(drawn, Tensor):
            self._buffers.append(drawn)
        else:
            self._buffers.append(len(self._generators))
            self._generators.append(drawn)


class _Taped:
    """Stands in for a `KeyedGenerator`; a step that selects rows or wants a torch generator cannot be recorded."""

    def __init__(self, tape: DrawTape, number: int) -> None:
        self._tape = tape
        self._number = number

    def child(self, *purpose: int | str) -> Tensor | _Taped:
        return self._ask("child", *purpose)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor | _Taped:
        return self._ask("uniform", *shape, low=low, high=high)

    def uniform_like(self, images: Tensor, *, low: float = 0.0, high: float = 1.0) -> Tensor:
        return cast(Tensor, self._ask("uniform", *images.shape[1:], low=low, high=high)).to(images)

    def normal(self, *shape: int) -> Tensor | _Taped:
        return self._ask("normal", *shape)

    def normal_like(self, images: Tensor) -> Tensor:
        return cast(Tensor, self._ask("normal", *images.shape[1:])).to(images)

    def integers(self, high: int) -> Tensor | _Taped:
        return self._ask("integers", high)

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Tensor | _Taped:
        return self._tape.answer(_Request(source=self._number, method=method, arguments=arguments, options=options))
