"""anomalib's own fit, predict and export, as its engine does them; run in anomalib's environment.

    anomalib_child.py fit padim --weights FILE --images FOLDER --out FOLDER     → OUT/model.ckpt
    anomalib_child.py predict padim --weights FILE --model CKPT --images FOLDER --out FOLDER [--pictures]
    anomalib_child.py export padim --weights FILE --model CKPT --out FOLDER     → OUT/model.xml
    anomalib_child.py infer --model XML --images FOLDER

`infer` is its OpenVINOInferencer. All end with a line of JSON. Metrics are off everywhere; pictures are made
only with --pictures, and `infer` has none to make.
"""
# mypy: disable-error-code="import-not-found"
# anomalib, timm and torchvision live in another environment than the one that mypy sees.

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

BACKBONE = "tf_efficientnet_lite0"
LAYERS = ["blocks.2", "blocks.4"]  # 40 channels at stride 8 and 112 at stride 16
FEATURES = 100  # of PaDiM: random channels, as is its habit for small backbones
CORESET = 0.01
SIDE = 256


def build(method: str, weights: Path, pictures: bool = False) -> Any:
    """PaDiM or PatchCore on the published weights, with the normalisation that they want, without metrics."""
    from anomalib.models import Padim, Patchcore
    from anomalib.pre_processing import PreProcessor
    from safetensors.torch import load_file
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    transform = Compose(
        [Resize((SIDE, SIDE), antialias=True), Normalize(mean=[127 / 255] * 3, std=[128 / 255] * 3)]
    )
    common: dict[str, Any] = {
        "backbone": BACKBONE,
        "layers": LAYERS,
        "pre_trained": False,
        "pre_processor": PreProcessor(transform),
        "evaluator": False,
        "visualizer": pictures,
    }
    if method == "padim":
        model = Padim(n_features=FEATURES, **common)
    else:
        model = Patchcore(coreset_sampling_ratio=CORESET, **common)
    model.model.feature_extractor.feature_extractor.load_state_dict(load_file(weights))
    return model


def engine(out: Path) -> Any:
    from anomalib.engine import Engine

    return Engine(default_root_dir=out, accelerator="cpu", enable_progress_bar=False)


def fit(given: argparse.Namespace) -> dict[str, Any]:
    from anomalib.data import Folder

    # Its default of 8 workers is made for other machines; as many as there are cores do best here.
    data = Folder(
        name="tiles",
        root=given.images.parent,
        normal_dir=given.images.name,
        test_split_mode="none",
        val_split_mode="none",
        num_workers=os.cpu_count() or 1,
    )
    running = engine(given.out)
    data.setup()
    # Without its data module it validates nothing: it is asked for no more than learning.
    running.fit(build(given.method, given.weights), train_dataloaders=data.train_dataloader())
    (given.out / "model.ckpt").symlink_to(Path(running.best_model_path).resolve())
    return {"images": len(data.train_data)}


def predict(given: argparse.Namespace) -> dict[str, Any]:
    from lightning.pytorch.callbacks import Callback

    count = 0

    class Counting(Callback):  # type: ignore[misc]  # of a class mypy does not see
        def on_predict_batch_end(self, *args: Any) -> None:
            nonlocal count
            count += len(args[2].pred_score)

    running = engine(given.out)
    running._cache.args["callbacks"].append(Counting())
    # What it finds is dropped batch by batch, or it would keep every map in memory.
    running.predict(
        build(given.method, given.weights, given.pictures),
        data_path=given.images,
        ckpt_path=given.model,
        return_predictions=False,
    )
    return {"images": count}


def export(given: argparse.Namespace) -> dict[str, Any]:
    model = build(given.method, given.weights)
    running = engine(given.out)
    # Of no input size: its inferencer reads files of any size, and the graph resizes them.
    path = running.export(model, "openvino", export_root=given.out, ckpt_path=given.model)
    (given.out / "model.xml").symlink_to(Path(path).resolve())
    (given.out / "model.bin").symlink_to(Path(path).resolve().with_suffix(".bin"))
    return {"model": str(path)}


def infer(given: argparse.Namespace) -> dict[str, Any]:
    from anomalib.deploy import OpenVINOInferencer

    os.chdir(given.model.parent)  # it keeps the compiled model there, and finds it the next time
    inferencer = OpenVINOInferencer(given.model, device="CPU")
    scores = [float(inferencer.predict(path).pred_score.item()) for path in sorted(given.images.iterdir())]
    return {"images": len(scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    actions = {"fit": fit, "predict": predict, "export": export, "infer": infer}
    parser.add_argument("action", choices=actions)
    parser.add_argument("method", nargs="?", choices=("padim", "patchcore"))
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", action="store_true")
    given = parser.parse_args()
    print(json.dumps(actions[given.action](given)))


if __name__ == "__main__":
    main()
