"""A small network that looks at each cell's whitened features, trained to find synthetic defects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from anomalyvfm.data import InputFrame, read_image
from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics
from anomalyvfm.synthesis import MIXES, orders, synthesize
from trialing.features import Variant, kept
from trialing.opinions import Case, Floats, Judgement, cells_of, top_mean
from trialing.running import aupro, auroc

_VARIANT, _STAGES, _PRIOR = "lite0-global-256", (4, 5), 20.0
_SYNTHETIC, _HELD_OUT = 240, 0.25
_STEPS, _EACH = 600, 256
_WEIGHTS = (0.25, 1.0)


def head(case: Case) -> Iterator[tuple[str, dict[str, float]]]:
    """By what judges: image AUROC in regular light, and AU-PRO on magnetic_tile.

    Three quarters of the good images make the Gaussians. On the last quarter defects are made, and a cell's
    residuals there, whitened by its own Gaussian, are what the head learns from. Map and head are added up in
    units of their spread on that quarter, scores for the image and values of cells for the map shown.
    """
    found, material = case.features(_VARIANT), case.material
    order = np.random.default_rng(3).permutation(len(case.learned))
    cut = int(_HELD_OUT * len(order))
    held_out, rest = np.sort(case.learned[order[:cut]]), np.sort(case.learned[order[cut:]])
    learned = cells_of(found, _STAGES, rest)
    statistics = SufficientStatistics(len(learned), learned.shape[2])
    statistics.add(learned)
    gaussian = Gaussian(statistics, _PRIOR)
    whitener = gaussian.whitener(torch.arange(len(gaussian.mean)))

    def white(cells: Tensor) -> Tensor:
        return torch.bmm(cells - gaussian.mean[:, None], whitener.transpose(1, 2))

    good, tested = (white(cells_of(found, _STAGES, rows)) for rows in (held_out, case.tested))
    made, covered = _defects(case, held_out)
    bad, untouched = white(made)[covered > 0.5], white(made)[covered == 0]
    network = _trained(bad, torch.cat([good.flatten(0, 1), untouched]))
    with torch.no_grad():
        map_, map_good = (x.square().mean(2).T.log().numpy() for x in (tested, good))
        own, own_good = (network(_shown(x))[..., 0].T.numpy() for x in (tested, good))

    regular = material.condition[case.tested] == "regular"
    label = material.label[case.tested]
    # The map's own score is the mean of its largest distances, not of their logarithms.
    score, score_good = (np.log(top_mean(np.exp(x))) for x in (map_, map_good))
    own_score, own_score_good = top_mean(own), top_mean(own_good)
    first, second = _standard(score, score_good), _standard(own_score, own_score_good)
    first_cells, second_cells = _standard(map_, map_good), _standard(own, own_good)
    for name, weights in {
        "map-45 of three quarters": (1.0, 0.0),
        "head alone": (0.0, 1.0),
        **{f"map-45 + {weight:g} head": (1.0, weight) for weight in _WEIGHTS},
    }.items():
        scores = weights[0] * first + weights[1] * second
        values = {"AUROC": auroc(label[regular], scores[regular].astype(np.float64))}
        if material.name == "mt":
            cells = np.exp(weights[0] * first_cells + weights[1] * second_cells)
            side = round(cells.shape[1] ** 0.5)
            shown = Judgement(cells[:0], cells.reshape(-1, side, side))
            values["AU-PRO .30"], values["AU-PRO .05"] = aupro(case, shown)
        yield name, values


def _standard(values: Floats, good: Floats) -> Floats:
    result: Floats = (values - good.mean()) / good.std()
    return result


def _defects(case: Case, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """(P, N, D) features of images with synthetic defects, and the share (P, N) of each cell they cover."""
    way = Variant.of(_VARIANT)
    frame = InputFrame(way.side, way.side, "stretch")
    goods = [frame.place(read_image(case.material.paths[i])) for i in rows]
    made = list(synthesize(goods, orders(MIXES["v1.4"]["medium"], _SYNTHETIC)))
    folder = case.cache / case.material.name / f"{_VARIANT}-defects-{case.seed}"
    found = kept(folder, (way.dress(one.image) for one in made), _SYNTHETIC, way.backbone)
    cells = cells_of(found, _STAGES, np.arange(_SYNTHETIC))
    masks = torch.from_numpy(np.stack([one.mask for one in made]).astype(np.float32))
    return cells, functional.adaptive_avg_pool2d(masks, round(len(cells) ** 0.5)).flatten(1).T


def _shown(white: Tensor) -> Tensor:
    """The logarithm of each direction's own squared distance: the sign of a deviation says nothing."""
    return white.square().log1p()


def _trained(bad: Tensor, good: Tensor) -> nn.Module:
    torch.manual_seed(0)
    dims = bad.shape[1]
    network = nn.Sequential(
        nn.LayerNorm(dims), nn.Linear(dims, 64), nn.GELU(), nn.Dropout(0.2), nn.Linear(64, 1)
    )
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    wanted = torch.cat([torch.ones(_EACH), torch.zeros(_EACH)])
    for _ in range(_STEPS):
        drawn = [x[torch.randint(len(x), (_EACH,))] for x in (bad, good)]
        loss = functional.binary_cross_entropy_with_logits(network(_shown(torch.cat(drawn)))[:, 0], wanted)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return network.eval()
