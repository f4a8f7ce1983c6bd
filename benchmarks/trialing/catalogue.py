"""Every trial by name: which opinions are asked, how they are weighed, and which map is shown."""

from __future__ import annotations

from dataclasses import dataclass

from trialing.opinions import CellGaussian, Gram, LocalNeighbours, Moments, Neighbours, Opinion, Pooled

LOCAL, LARGE, LITE1, LITE2 = "lite0-local-256", "lite0-global-384", "lite1-global-256", "lite2-global-256"
FLIP = "lite0-globalflip-256"


@dataclass(frozen=True)
class Trial:
    """Opinions with their weights, the map whose AU-PRO is measured, and one line on what is tried."""

    about: str
    opinions: tuple[tuple[Opinion, float], ...]
    map: Opinion | None = None


def _map(about: str, map_: Opinion, top: float = 0.02) -> Trial:
    """A map alone, its image score the mean of the largest cells."""
    return Trial(about, ((Pooled(map_, top), 1.0),), map_)


def _image(about: str, opinion: Opinion) -> Trial:
    return Trial(about, ((opinion, 1.0),))


_PLAIN = CellGaussian()
_GIVEN = CellGaussian(factors=64)
_SUMMARY = Moments(stages=(4, 5, 6))
_PLAIN_TOP, _GIVEN_TOP = Pooled(_PLAIN), Pooled(_GIVEN)
_SMOOTH = Pooled(CellGaussian(pool=3))
_SMOOTH_GIVEN = Pooled(CellGaussian(pool=3, factors=64))
_QUADRANTS = Moments(stages=(5, 6), parts=2)
_GIVEN_COARSE = Pooled(CellGaussian(stages=(6,), factors=64), 0.1)

TRIALS: dict[str, Trial] = {
    # what there is
    "now": Trial("v2 so far, every good image learned", ((_PLAIN_TOP, 1), (Moments(), 0.25)), _PLAIN),
    # (a) the image's summary
    "moments-5": _image("mean and spread over the image, stage 5", Moments(stages=(5,))),
    "moments-6": _image("the same, stage 6", Moments(stages=(6,))),
    "moments-45": _image("the same, stages 4 and 5", Moments()),
    "moments-56": _image("the same, stages 5 and 6", Moments(stages=(5, 6))),
    "moments-456": _image("the same, stages 4, 5 and 6", _SUMMARY),
    "moments-all": _image("the same, stages 2 to 7", Moments(stages=(2, 3, 4, 5, 6, 7))),
    "moments-oracle": _image(
        "456, oracle-approximating shrinkage", Moments(stages=(4, 5, 6), shrinkage=None)
    ),
    "moments-0.1": _image("456, shrinkage 0.1", Moments(stages=(4, 5, 6), shrinkage=0.1)),
    "means-456": _image("456, means without spreads", Moments(stages=(4, 5, 6), spread=False)),
    "moments-quadrants": _image("stages 5 and 6, quadrant by quadrant", Moments(stages=(5, 6), parts=2)),
    "gram-5": _image("log of channel covariance over the image, 24 components of stage 5", Gram()),
    "moments-local": _image("456, local contrast made equal", Moments((LOCAL,), (4, 5, 6))),
    "moments-two-inputs": _image(
        "456, global and local input", Moments(("lite0-global-256", LOCAL), (4, 5, 6))
    ),
    "moments-lite2": _image("456, lite2", Moments((LITE2,), (4, 5, 6))),
    # (b) maps
    "map-3": _map("one Gaussian a cell, stage 3", CellGaussian(stages=(3,))),
    "map-4": _map("stage 4", CellGaussian(stages=(4,))),
    "map-5": _map("stage 5", CellGaussian(stages=(5,))),
    "map-6": _map("stage 6, top 10 %", CellGaussian(stages=(6,)), 0.1),
    "map-7": _map("stage 7, top 10 %", CellGaussian(stages=(7,)), 0.1),
    "map-45": _map("stages 4 and 5", _PLAIN),
    "map-45-top10": _map("stages 4 and 5, top 10 %", _PLAIN, 0.1),
    "map-45-mean": _map("stages 4 and 5, mean of the map", _PLAIN, 1.0),
    "map-35": _map("stages 3 and 5, stride 8", CellGaussian(stages=(3, 5))),
    "map-45-prior5": _map("stages 4 and 5, prior of 5 images", CellGaussian(prior=5.0)),
    "map-45-prior100": _map("stages 4 and 5, prior of 100 images", CellGaussian(prior=100.0)),
    "map-45-shared": _map("stages 4 and 5, one covariance for all cells", CellGaussian(shared=True)),
    "map-45-pool3": _map("stages 4 and 5, features averaged over 3 × 3 cells", CellGaussian(pool=3)),
    "map-45-local": _map("stages 4 and 5, local contrast made equal", CellGaussian(LOCAL)),
    "map-5-lite1": _map("stage 5, lite1", CellGaussian(LITE1, (5,))),
    "map-5-lite2": _map("stage 5, lite2", CellGaussian(LITE2, (5,))),
    "map-5-flip": _image("stage 5, mirrored images", Pooled(CellGaussian(FLIP, (5,)))),
    "map-45-384": _map("stages 4 and 5, 384 px", CellGaussian(LARGE)),
    "map-45-given": _map("stages 4 and 5, given the image's summary (64 factors)", _GIVEN),
    "map-45-given16": _map("the same, 16 factors", CellGaussian(factors=16)),
    "map-5-given": _map("stage 5, given the summary", CellGaussian(stages=(5,), factors=64)),
    # (c) neighbours
    "near-4": _map("nearest of 5,000 whitened patches, stage 4", Neighbours(stages=(4,), bank=5000)),
    "near-45": _map("the same, stages 4 and 5", Neighbours(bank=5000)),
    "near-local": _map("nearest within 1 cell in 100 images, stages 4 and 5", LocalNeighbours()),
    # (d) fusion
    "plain+summary": Trial("map-45 + 0.5 moments-456", ((_PLAIN_TOP, 1), (_SUMMARY, 0.5)), _PLAIN),
    "given+summary": Trial("map-45-given + 0.5 moments-456", ((_GIVEN_TOP, 1), (_SUMMARY, 0.5)), _PLAIN),
    "given+summary-1": Trial("map-45-given + moments-456", ((_GIVEN_TOP, 1), (_SUMMARY, 1)), _PLAIN),
    "given+coarse+summary": Trial(
        "map-45-given + stage 6 given, top 10 % + 0.5 moments-456",
        ((_GIVEN_TOP, 1), (_GIVEN_COARSE, 1), (_SUMMARY, 0.5)),
        _PLAIN,
    ),
    "smooth+summary": Trial("map-45-pool3 + 0.5 moments-456", ((_SMOOTH, 1), (_SUMMARY, 0.5)), _PLAIN),
    "smooth-given": Trial("map-45-pool3 given the summary", ((_SMOOTH_GIVEN, 1),), _PLAIN),
    "plain+smooth+summary": Trial(
        "map-45 + map-45-pool3 + 0.5 moments-456", ((_PLAIN_TOP, 1), (_SMOOTH, 1), (_SUMMARY, 0.5)), _PLAIN
    ),
    "smooth-given+summary": Trial(
        "map-45-pool3 given the summary + 0.5 moments-456", ((_SMOOTH_GIVEN, 1), (_SUMMARY, 0.5)), _PLAIN
    ),
    "smooth-given+quadrants": Trial(
        "map-45-pool3 given the summary + 0.5 moments-quadrants",
        ((_SMOOTH_GIVEN, 1), (_QUADRANTS, 0.5)),
        _PLAIN,
    ),
    "plain+smooth-given+quadrants": Trial(
        "map-45 + map-45-pool3 given + 0.5 moments-quadrants",
        ((_PLAIN_TOP, 1), (_SMOOTH_GIVEN, 1), (_QUADRANTS, 0.5)),
        _PLAIN,
    ),
    "given+two-inputs": Trial(
        "map-45-given + 0.5 moments of both inputs",
        ((_GIVEN_TOP, 1), (Moments(("lite0-global-256", LOCAL), (4, 5, 6)), 0.5)),
        _PLAIN,
    ),
}
