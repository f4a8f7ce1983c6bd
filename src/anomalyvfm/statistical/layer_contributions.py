"""How much each layer of the backbone contributes to a squared Mahalanobis distance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anomalyvfm.statistical.gaussian import Gaussian


def channel_contributions(
    gaussian: Gaussian,
    positions: Tensor,
    vectors: Tensor,
    projection: Tensor | None = None,
    deviations: Tensor | None = None,
) -> Tensor:
    """(K, C) parts of the distances of K vectors (K, G + D) to the Gaussians of their ``positions`` (K,).

    With P the precision of a position's D features x given the G of the summary g, and e = x − E[x | g], the
    squared distance is eᵀPe = Σ_c e_c (Pe)_c. The part of a group of channels, Σ e_c (Pe)_c over it, is its
    Shapley value where v(S) is the distance with only the groups of S off their expectation: what two groups
    cause together counts half to each (Lundberg & Lee 2017, section 2.4, for Shapley values of models). A
    part below zero says that those channels make the others' deviation more plausible.

    Where the features are a projection x = Wᵀz of C channels z, W (C, D) orthonormal, the part of channel c
    is ρ_c (W P e)_c with ρ = (z − E z) − W E[x − E x | g]: as Wᵀρ = e, the parts still sum to eᵀPe. The
    deviations z − E z are ``deviations`` (K, C), known in full, so that a deviation in one channel is not
    spread over others by projecting and lifting it; without a projection they are taken from the vectors.
    """
    whitener = gaussian.whitener(positions)  # (K, D, G + D)
    context = whitener.shape[2] - whitener.shape[1]
    off = (vectors - gaussian.mean[positions])[..., None]
    gradient = whitener[:, :, context:].mT @ (whitener @ off)  # P e
    expected = torch.zeros_like(gradient)
    if context:
        shift = whitener[:, :, :context] @ off[:, :context]
        expected = -torch.linalg.solve_triangular(whitener[:, :, context:], shift, upper=False)
    if projection is None or deviations is None:
        parts = (off[:, context:] - expected) * gradient
    else:
        parts = (deviations[..., None] - projection @ expected) * (projection @ gradient)
    return parts[..., 0] / whitener.shape[1]


def shares(contributions: Tensor, widths: Sequence[int]) -> Tensor:
    """(K, L) of K × C contributions of channels: those of L layers of ``widths`` channels, summing to 1.

    A layer that makes the deviation of others more plausible counts 0, not less.
    """
    layers = [part.sum(1) for part in torch.split(contributions, list(widths), dim=1)]
    positive = torch.stack(layers, 1).clamp_min(0)
    return positive / positive.sum(1, keepdim=True).clamp_min(torch.finfo(positive.dtype).tiny)
