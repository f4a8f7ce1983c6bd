"""Ways to judge an image: each gives scores of the tested images, and of the learned as if they were not.

A map opinion scores every cell of a grid; an image opinion scores the image, often by pooling a map. All are
plain data: the representation of one is the name under which its result is kept.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trialing.features import Features, features
from trialing.gaussians import Distances, cell_distances, centred, conditioned, vector_distances
from trialing.material import Material

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Judgement:
    """Of n learned images, each judged by the others, and of m tested ones: scores (n,) and (m,), or maps.

    ``megabytes`` is what the model must keep (sums in float64, banks in float32), ``seconds`` the processor's
    time for learning and judging all n + m images, features not counted.
    """

    held_out: Floats
    tested: Floats
    megabytes: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Case:
    """One category and seed: what is learned and tested, and where features and results are kept."""

    material: Material
    seed: int
    cache: Path

    @cached_property
    def learned(self) -> NDArray[np.int64]:
        return self.material.split(self.seed)[0]

    @cached_property
    def tested(self) -> NDArray[np.int64]:
        return self.material.split(self.seed)[1]

    def features(self, variant: str) -> Features:
        return features(self.material.name, self.material.paths, variant, self.cache)

    def judge(self, opinion: Opinion) -> Judgement:
        """The opinion's judgement, from the cache where it was asked for before."""
        key = blake2b(repr(opinion).encode(), digest_size=10).hexdigest()
        file = self.cache / "opinions" / f"{self.material.name}-{self.seed}" / f"{key}.npz"
        if file.exists():
            with np.load(file) as kept:
                cost = (float(kept["megabytes"]), float(kept["seconds"]))
                return Judgement(kept["held_out"], kept["tested"], *cost)
        started = time.process_time()
        made = opinion.judge(self)
        made = replace(made, seconds=made.seconds or time.process_time() - started)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **asdict(made))
        return made


class Opinion(Protocol):
    def judge(self, case: Case) -> Judgement: ...


@dataclass(frozen=True)
class CellGaussian:
    """Map: a Gaussian at each cell. ``pool`` averages features over a square of cells around each.

    With ``factors`` the cell's mean follows the image's summary (:func:`conditioned`), which is made of the
    moments of the stages ``known``.
    """

    variant: str = "lite0-global-256"
    stages: tuple[int, ...] = (4, 5)
    prior: float = 20.0
    pool: int = 1
    shared: bool = False
    factors: int = 0
    ridge: float = 20.0
    known: tuple[int, ...] = (4, 5, 6)

    def judge(self, case: Case) -> Judgement:
        found = case.features(self.variant)
        learned, tested = (
            cells_of(found, self.stages, rows, self.pool) for rows in (case.learned, case.tested)
        )
        residuals = centred(learned, tested)
        if self.factors:
            summary = moments_of(found, self.known)
            known = (summary[case.learned], summary[case.tested])
            residuals = conditioned(learned, tested, known, self.factors, self.ridge)
        cells, _, dims = learned.shape
        kept = (
            dims * (dims + 3) // 2 + self.factors * dims
        )  # sums a cell: vectors, products, with the summary
        return _as_maps(cell_distances(residuals, self.prior, shared=self.shared), 8e-6 * cells * kept)


@dataclass(frozen=True)
class Moments:
    """Image: a Gaussian of features' mean and spread over the image, or over each of its parts.

    ``parts`` n cuts the image into n × n fields, each with a mean and a spread of its own.
    """

    variants: tuple[str, ...] = ("lite0-global-256",)
    stages: tuple[int, ...] = (4, 5)
    shrinkage: float | None = 0.01
    spread: bool = True
    parts: int = 1

    def judge(self, case: Case) -> Judgement:
        vectors = [
            self._vectors(case.features(variant), stage) for variant in self.variants for stage in self.stages
        ]
        x = torch.from_numpy(np.concatenate(vectors, 1))
        size = 4e-6 * x.shape[1] ** 2
        return _as_scores(vector_distances(x[case.learned], x[case.tested], self.shrinkage), size)

    def _vectors(self, found: Features, stage: int) -> Floats:
        kinds = 2 if self.spread else 1
        if self.parts == 1:
            moments = found.moments(stage)[:, :kinds]
            return moments.reshape(len(moments), -1)
        x = torch.from_numpy(np.asarray(found.maps(stage), np.float32)).permute(0, 3, 1, 2)
        center = functional.adaptive_avg_pool2d(x, self.parts)
        power = functional.adaptive_avg_pool2d(x.square(), self.parts)
        both = torch.cat([center, (power - center.square()).clamp_min(0).sqrt()][:kinds], 1)
        return both.flatten(1).numpy()


@dataclass(frozen=True)
class Gram:
    """Image: a Gaussian of the covariances between channels over the image, seen by random projections."""

    variant: str = "lite0-global-256"
    stage: int = 5
    channels: int = 24
    shrinkage: float | None = None

    def judge(self, case: Case) -> Judgement:
        maps = case.features(self.variant).maps(self.stage)
        sample = np.asarray(maps[case.learned], np.float32).reshape(-1, maps.shape[3])
        center = sample.mean(0)
        values, vectors = np.linalg.eigh(np.cov(sample[:: max(1, len(sample) // 20000)].T))
        basis = vectors[:, -self.channels :] / np.sqrt(values[-self.channels :])
        rows, columns = np.tril_indices(self.channels)
        out = np.empty((len(maps), self.channels + len(rows)), np.float32)
        for i, one in enumerate(maps):
            patches = (np.asarray(one, np.float32).reshape(-1, maps.shape[3]) - center) @ basis
            covariance = np.cov(patches.T) + 1e-3 * np.eye(self.channels)
            w, v = np.linalg.eigh(covariance)  # its logarithm: covariances have no additive geometry
            out[i] = np.concatenate([patches.mean(0), ((v * np.log(w)) @ v.T)[rows, columns]])
        x = torch.from_numpy(out)
        size = 4e-6 * x.shape[1] ** 2
        return _as_scores(vector_distances(x[case.learned], x[case.tested], self.shrinkage), size)


@dataclass(frozen=True)
class Neighbours:
    """Map: distance to the nearest of a bank of good patches, whitened by the pooled covariance.

    ``bank`` patches are drawn at random, the ``nearest`` of them averaged. ``within`` whitens the scatter
    around each cell's mean, else around the mean of all.
    """

    variant: str = "lite0-global-256"
    stages: tuple[int, ...] = (4, 5)
    bank: int = 10000
    nearest: int = 1
    within: bool = True
    dims: int = 64

    def judge(self, case: Case) -> Judgement:
        found = case.features(self.variant)
        learned, tested = (cells_of(found, self.stages, rows) for rows in (case.learned, case.tested))
        cells, n, _ = learned.shape
        white = _whitener(learned, within=self.within, keep=self.dims)
        x = (learned @ white).transpose(0, 1).reshape(n * cells, -1)
        y = (tested @ white).transpose(0, 1).reshape(-1, x.shape[1])
        generator = torch.Generator().manual_seed(case.seed)
        kept = torch.randperm(len(x), generator=generator)[: self.bank]
        bank, owner = x[kept], kept // cells
        held_out = _nearest(x, bank, self.nearest, torch.arange(len(x)) // cells, owner)
        judged = _nearest(y, bank, self.nearest, None, owner)
        d = x.shape[1]
        distances = Distances(held_out.view(n, cells).T / d, judged.view(-1, cells).T / d)
        return _as_maps(distances, 4e-6 * bank.numel())


@dataclass(frozen=True)
class LocalNeighbours:
    """Map: nearest good patch among those at most ``reach`` cells away, in pooled whitened features."""

    variant: str = "lite0-global-256"
    stages: tuple[int, ...] = (4, 5)
    reach: int = 1
    images: int = 100
    dims: int = 64
    nearest: int = 3

    def judge(self, case: Case) -> Judgement:
        found = case.features(self.variant)
        learned, tested = (cells_of(found, self.stages, rows) for rows in (case.learned, case.tested))
        cells, n, _ = learned.shape
        side = round(cells**0.5)
        white = _whitener(learned, within=True, keep=self.dims)
        x, y = learned @ white, tested @ white
        generator = torch.Generator().manual_seed(case.seed)
        chosen = torch.randperm(n, generator=generator)[: self.images]
        held_out, judged = torch.empty(cells, n), torch.empty(cells, y.shape[1])
        for cell in range(cells):
            row, column = divmod(cell, side)
            near = [
                r * side + c
                for r in range(max(0, row - self.reach), min(side, row + self.reach + 1))
                for c in range(max(0, column - self.reach), min(side, column + self.reach + 1))
            ]
            bank = x[near][:, chosen].flatten(0, 1)
            owner = chosen.repeat(len(near))
            held_out[cell] = _nearest(x[cell], bank, self.nearest, torch.arange(n), owner)
            judged[cell] = _nearest(y[cell], bank, self.nearest, None, owner)
        distances = Distances(held_out / x.shape[2], judged / x.shape[2])
        return _as_maps(distances, 4e-6 * cells * self.images * x.shape[2])


@dataclass(frozen=True)
class Pooled:
    """Image: the mean of the largest ``top`` share of a map."""

    map: Opinion
    top: float = 0.02

    def judge(self, case: Case) -> Judgement:
        maps = case.judge(self.map)
        held_out, tested = top_mean(maps.held_out, self.top), top_mean(maps.tested, self.top)
        return Judgement(held_out, tested, maps.megabytes, maps.seconds)


def top_mean(maps: Floats, share: float = 0.02) -> Floats:
    """The mean of each map's largest cells, (N, ...) to (N,)."""
    flat = maps.reshape(len(maps), -1)
    count = max(1, round(share * flat.shape[1]))
    top: Floats = np.partition(flat, -count, axis=1)[:, -count:].mean(1)
    return top


def cells_of(found: Features, stages: tuple[int, ...], rows: NDArray[np.int64], pool: int = 1) -> Tensor:
    """(P, N, D) features of the stages joined on the grid of the finest, float32."""
    joined: list[Tensor] = []
    for stage in stages:
        x = torch.from_numpy(np.asarray(found.maps(stage)[rows], np.float32)).permute(0, 3, 1, 2)
        if joined and x.shape[2:] != joined[0].shape[2:]:
            x = functional.interpolate(x, joined[0].shape[2:], mode="bilinear")
        if pool > 1:
            x = functional.avg_pool2d(x, pool, 1, pool // 2, count_include_pad=False)
        joined.append(x)
    return torch.cat(joined, 1).flatten(2).permute(2, 0, 1).contiguous()


def moments_of(found: Features, stages: tuple[int, ...]) -> Tensor:
    """(N, S) mean and spread over the image of every channel of the stages."""
    return torch.from_numpy(
        np.concatenate([found.moments(s).reshape(-1, 2 * found.moments(s).shape[2]) for s in stages], 1)
    )


def _whitener(learned: Tensor, *, within: bool, keep: int) -> Tensor:
    """(D, keep): whitens the covariance within cells or over all, and keeps where it varies most."""
    _, n, dims = learned.shape
    x = learned - learned.mean(1, keepdim=True) if within else learned - learned.mean((0, 1))
    flat = x.reshape(-1, dims)[:: max(1, len(learned) * n // 60000)].double()
    values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    values, vectors = values.flip(0)[:keep], vectors.flip(1)[:, :keep]
    white: Tensor = (vectors / (values + 1e-3 * values.mean()).sqrt()).float()
    return white


def _nearest(x: Tensor, bank: Tensor, k: int, own: Tensor | None, owner: Tensor) -> Tensor:
    """Mean squared distance (N,) of (N, D) to their k nearest in (B, D) that are not of their own image."""
    out = torch.empty(len(x))
    squares = bank.square().sum(1)
    for start in range(0, len(x), 2048):
        part = slice(start, start + 2048)
        distances = torch.addmm(squares, x[part], bank.T, alpha=-2)
        if own is not None:
            distances[own[part][:, None] == owner] = torch.inf
        near = distances.amin(1) if k == 1 else distances.topk(k, dim=1, largest=False).values.mean(1)
        out[part] = (near + x[part].square().sum(1)).clamp_min(1e-6)
    return out


def _as_maps(distances: Distances, megabytes: float) -> Judgement:
    side = round(len(distances.tested) ** 0.5)
    held_out, tested = (d.T.reshape(-1, side, side).numpy() for d in (distances.held_out, distances.tested))
    return Judgement(np.ascontiguousarray(held_out), np.ascontiguousarray(tested), megabytes)


def _as_scores(distances: Distances, megabytes: float) -> Judgement:
    return Judgement(distances.held_out[0].numpy(), distances.tested[0].numpy(), megabytes)
