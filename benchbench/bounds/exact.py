"""The least margin over a box by HiGHS, as a mixed-integer program (Tjeng and others, 2019).

HiGHS computes in floating point with a tolerance of 1e-6 for each constraint. So its bounds hold up to that tolerance, and in
real arithmetic, as the program has no rounding errors of float32.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from benchbench.bounds.network import Network
from benchbench.bounds.problems import Enclosure
from benchbench.bounds.regions import Region
from benchbench.errors import NoBoundError

TOLERANCE = 1e-5  # ten times the solver's, relative to values plus 1

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def exact_margin(network: Network, region: Region, inside: Enclosure, row: Tensor, seconds: float) -> float:
    """A lower bound of a linear function of the logits over a box; exact unless time runs out.

    Raises:
        NoBoundError: a rectifier leaks, or the region is no box.
    """
    if region.centre is not None or any(network.steps[at].slope for at in network.rectifiers):
        raise NoBoundError("the exact program knows boxes and ReLU only")
    program = _Program(region)
    logits = program.run(network, inside)
    return program.least(
        row.double().cpu().numpy() @ logits.matrix, float(row.double().cpu().numpy() @ logits.shift), seconds
    )


class _Linear:
    """matrix @ variables + shift, one line per number of a step."""

    def __init__(self, matrix: Array, shift: Array) -> None:
        self.matrix, self.shift = matrix, shift


class _Program:
    """Variables and constraints; each neuron whose sign is open adds two variables."""

    def __init__(self, region: Region) -> None:
        self._lower, self._upper = (side.flatten().cpu().numpy().copy() for side in (region.lower, region.upper))
        self._whole = np.zeros(len(self._lower))
        self._lines: list[Array] = []
        self._least: list[float] = []

    def run(self, network: Network, inside: Enclosure) -> _Linear:
        """The logits in the variables."""
        found = [_Linear(np.eye(len(self._lower)), np.zeros(len(self._lower)))]
        for step in network.steps[1:]:
            sources = [self._padded(found[source]) for source in step.sources]
            if step.affine is not None:
                size = math.prod(step.shape)
                like = inside.lower[0]
                unit = torch.eye(size, dtype=torch.float64, device=like.device).reshape(size, *step.shape)
                weight = step.affine.transpose(unit).flatten(1).cpu().numpy()
                shift = step.affine.bias.expand(step.shape).flatten().cpu().numpy()
                found.append(_Linear(weight @ sources[0].matrix, weight @ sources[0].shift + shift))
            elif step.slope is not None:
                source = step.sources[0]
                ends = [side[source][0].flatten().cpu().numpy() for side in (inside.lower, inside.upper)]
                found.append(self._rectified(sources[0], *ends))
            else:
                first, second = sources
                found.append(_Linear(first.matrix + second.matrix, first.shift + second.shift))
        return self._padded(found[-1])

    def least(self, objective: Array, shift: float, seconds: float) -> float:
        """The solver's lower bound, less its tolerance."""
        from scipy.optimize import Bounds, LinearConstraint, milp  # takes half a second to import

        columns = len(self._lower)
        lines = np.array([np.pad(line, (0, columns - len(line))) for line in self._lines]).reshape(-1, columns)
        solved = milp(
            objective,
            integrality=self._whole.astype(np.int64),
            bounds=Bounds(self._lower, self._upper),
            constraints=[LinearConstraint(lines, np.array(self._least), np.inf)] if len(lines) else [],
            options={"time_limit": seconds},
        )
        bound = getattr(solved, "mip_dual_bound", None)
        value = solved.fun if bound is None and solved.status == 0 else bound
        return -math.inf if value is None else float(value) + shift - TOLERANCE * (1 + abs(float(value) + shift))

    def _padded(self, one: _Linear) -> _Linear:
        missing = len(self._lower) - one.matrix.shape[1]
        return _Linear(np.pad(one.matrix, ((0, 0), (0, missing))), one.shift)

    def _rectified(self, source: _Linear, lower: Array, upper: Array) -> _Linear:
        """a = max(z, 0) with a binary b: a >= z, a >= 0, a <= z - lower (1 - b), a <= upper b."""
        open_ = np.flatnonzero((lower < 0) & (upper > 0))
        before, count = len(self._lower), len(open_)
        self._lower = np.concatenate([self._lower, np.zeros(2 * count)])
        self._upper = np.concatenate([self._upper, upper[open_], np.ones(count)])
        self._whole = np.concatenate([self._whole, np.zeros(count), np.ones(count)])
        matrix = np.where((lower >= 0)[:, None], self._padded(source).matrix, 0.0)
        shift = np.where(lower >= 0, source.shift, 0.0)
        wide = self._padded(source).matrix
        for number, line in enumerate(open_):
            own, binary = before + number, before + count + number
            matrix[line, own] = 1.0
            above, below, off = -wide[line], wide[line].copy(), np.zeros(len(self._lower))
            above[own] += 1.0
            below[own] -= 1.0
            below[binary] += lower[line]
            off[own], off[binary] = -1.0, upper[line]
            self._lines += [above, below, off]
            self._least += [float(source.shift[line]), float(lower[line] - source.shift[line]), 0.0]
        return _Linear(matrix, shift)
