"""Gaussians with every learned image judged as if it had not been learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_CELLS_AT_ONCE = 64


@dataclass(frozen=True)
class Distances:
    """Squared Mahalanobis distances over the number of dimensions: held out (P, n), of tested (P, m)."""

    held_out: Tensor
    tested: Tensor


@dataclass(frozen=True)
class Residuals:
    """What is left of (P, n, D) learned and (P, m, D) tested vectors once the expected is taken off.

    ``leverage`` (n,) is how much of its own expectation each learned image made: 1/n for a plain mean.
    """

    learned: Tensor
    tested: Tensor
    leverage: Tensor


def centred(learned: Tensor, tested: Tensor) -> Residuals:
    """Less each cell's mean."""
    n = learned.shape[1]
    mean = learned.mean(1, keepdim=True)
    return Residuals(learned - mean, tested - mean, torch.full((n,), 1 / n))


def conditioned(
    learned: Tensor, tested: Tensor, known: tuple[Tensor, Tensor], factors: int, ridge: float
) -> Residuals:
    """Less what each cell's mean and a ridge regression on the image's own summary lead to expect.

    ``known`` are the summaries (n, S) and (m, S), kept as their `factors` main components of unit variance;
    ``ridge`` is the prior's weight in images. With the summary's own distance this is the chain rule of one
    Gaussian of both, p(summary) · p(cell | summary), and needs the same kind of sums.
    """
    a, b = known
    n = len(a)
    mean, spread = a.mean(0), a.std(0, correction=0) + 1e-6
    a, b = (a - mean) / spread, (b - mean) / spread
    _, values, basis = torch.linalg.svd(a.double(), full_matrices=False)
    kept = min(factors, n // 5)
    basis = (basis[:kept].T / (values[:kept] / n**0.5)).float()
    a, b = a @ basis, b @ basis
    gain = torch.linalg.inv((a.T @ a + ridge * torch.eye(kept)).double()).float()
    plain = centred(learned, tested)
    slope = torch.einsum("nk,pnd->pkd", a @ gain, plain.learned)
    return Residuals(
        plain.learned - torch.einsum("nk,pkd->pnd", a, slope),
        plain.tested - torch.einsum("nk,pkd->pnd", b, slope),
        (a @ gain * a).sum(1) + 1 / n,
    )


def cell_distances(residuals: Residuals, prior: float, *, shared: bool = False) -> Distances:
    """A Gaussian at each of P cells from residuals.

    The covariance is (scatter + prior · pooled) / (n' + prior), n' the n images less the degrees of freedom
    spent on expectations, as in `anomalyvfm.statistical.gaussian`; with `shared` it is the pooled one alone.

    A learned image is judged by the statistics of the n − 1 others: with e the residual, h the leverage, A =
    scatter + prior · pooled and q = eᵀA⁻¹e, the left-out residual is e/(1−h), and A − eeᵀ is taken for
    what is left of A, so by Sherman-Morrison the squared distance is (n'−1+prior)·q / ((1−h)²·(1−q)).
    Good enough to weigh opinions; NOT to promise a false-alarm rate: the pooled prior, and with `conditioned`
    the factors, still hold the image. Five folds, each subtracted from the sums, are what keeps the promise.
    """
    cells, n, dims = residuals.learned.shape
    freedom = n - float(residuals.leverage.sum())
    pooled = _pooled(residuals.learned) * (n / freedom)
    held_out = torch.empty(cells, n)
    judged = torch.empty(cells, residuals.tested.shape[1])
    identity = torch.eye(dims, dtype=torch.float64)
    kept = 1 - residuals.leverage.double()
    for start in range(0, cells, _CELLS_AT_ONCE):
        part = slice(start, start + _CELLS_AT_ONCE)
        x = residuals.learned[part].double()
        scatter = torch.zeros(len(x), dims, dims, dtype=torch.float64) if shared else x.transpose(1, 2) @ x
        weight, total = (freedom, freedom) if shared else (prior, freedom + prior)
        factor = torch.linalg.cholesky(scatter + weight * pooled)
        whitener = torch.linalg.solve_triangular(factor, identity, upper=False)
        q = (x @ whitener.transpose(1, 2)).square().sum(2)
        left = 1.0 if shared else 1 - q
        held_out[part] = ((total - (not shared)) * q / kept**2 / left / dims).float()
        white = (whitener * total**0.5).float().transpose(1, 2)
        judged[part] = (residuals.tested[part] @ white).square().mean(2)
    return Distances(held_out, judged)


def vector_distances(learned: Tensor, tested: Tensor, shrinkage: float | None) -> Distances:
    """One Gaussian of (n, D) vectors, each dimension in its own unit, shrunk to the identity.

    `shrinkage` is the identity's share; None takes the oracle-approximating share (Chen, Wiesel, Eldar & Hero
    2010, "Shrinkage algorithms for MMSE covariance estimation", eq. 23). Returned as of one cell.
    """
    x, y = learned.double(), tested.double()
    n, dims = x.shape
    mean, spread = x.mean(0), x.std(0, correction=0)
    spread = spread + 1e-3 * spread.mean() + 1e-12
    x, y = (x - mean) / spread, (y - mean) / spread
    share = _oracle_share(x) if shrinkage is None else shrinkage
    scale = float(x.square().sum() / (n * dims))
    prior = share / (1 - share) * n
    factor = torch.linalg.cholesky(x.T @ x + prior * scale * torch.eye(dims, dtype=torch.float64))
    q = torch.linalg.solve_triangular(factor, x.T, upper=False).square().sum(0)
    judged = (n + prior) * torch.linalg.solve_triangular(factor, y.T, upper=False).square().sum(0)
    ratio = n / (n - 1)
    held_out = ratio**2 * (n - 1 + prior) * q / (1 - ratio * q).clamp_min(1e-9)
    return Distances((held_out / dims).float()[None], (judged / dims).float()[None])


def _oracle_share(x: Tensor) -> float:
    n, dims = x.shape
    gram = x @ x.T / n if n < dims else x.T @ x / n  # the same traces, in the smaller of the two shapes
    squares, trace = float(gram.square().sum()), float(gram.trace())
    alpha = squares / dims**2
    mean2 = (trace / dims) ** 2
    bottom = (n + 1) * (alpha - mean2 / dims)
    return float(np.clip((alpha + mean2) / bottom if bottom > 0 else 1.0, 1e-3, 0.999))


def _pooled(residuals: Tensor) -> Tensor:
    """The covariance within cells, averaged over them, float64; the diagonal fills in for few vectors."""
    cells, n, dims = residuals.shape
    pooled = torch.zeros(dims, dims, dtype=torch.float64)
    for cell in residuals:
        pooled += (cell.T @ cell).double()
    pooled /= cells * n
    share = dims / (dims + cells * n)
    diagonal = torch.diag(pooled.diagonal())
    floor = 1e-4 * float(pooled.diagonal().mean()) + 1e-12
    return (1 - share) * pooled + share * diagonal + floor * torch.eye(dims, dtype=torch.float64)
