"""pyimgano's PatchCore as its library gives it; run in pyimgano's environment.

    pyimgano_child.py fit --images FOLDER --out FILE
    pyimgano_child.py predict --model FILE --images FOLDER

ResNet-50, the smaller of its two backbones, of random weights, at its 224 px, and a coreset of 1 %. Both end
with a line of JSON.
"""
# mypy: disable-error-code="import-not-found"
# pyimgano lives in another environment than the one that mypy sees.

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def build() -> Any:
    from pyimgano.models.patchcore import VisionPatchCore

    return VisionPatchCore(backbone="resnet50", coreset_sampling_ratio=0.01, pretrained=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("fit", "predict"))
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    images = sorted(map(str, given.images.iterdir()))
    detector = build()
    if given.action == "fit":
        detector.fit(images)
        detector.save_checkpoint(given.out)
    else:
        detector.load_checkpoint(given.model)
        scores = detector.decision_function(images)
        if not scores.all():  # of an image that failed it says 0, and goes on
            raise SystemExit("pyimgano could not judge some images")
    print(json.dumps({"images": len(images), "centers": len(detector.memory_bank)}))


if __name__ == "__main__":
    main()
