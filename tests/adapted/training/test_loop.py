"""The loop: same result whatever way it is run, and mistakes in one line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anomalyvfm.adapted.adapters import Adapter, Form, build
from anomalyvfm.adapted.training.loop import Curve, TrainingData, train
from anomalyvfm.adapted.training.losses import Head
from anomalyvfm.adapted.training.processes import cores_for
from anomalyvfm.errors import InputError
from anomalyvfm.features.store import mapped_rows
from anomalyvfm.presets import TrainingSettings, preset

WIDTH = 24
QUICK = TrainingSettings(epochs=3, batch=8, learning_rate=1e-3)


def data(form: Form = "chain", normal: int = 20, synthetic: int = 30) -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    shape = (3, WIDTH) if form == "multiscale" else (WIDTH,)
    shift = torch.randn(WIDTH, generator=generator)
    return TrainingData(
        torch.randn(normal, *shape, generator=generator),
        torch.randn(synthetic, *shape, generator=generator) + shift,
    )


def fresh(form: Form = "chain", outputs: int = 1) -> tuple[Adapter, Head]:
    return build(form, WIDTH, rank=4, alpha=8, seed=1), Head(WIDTH, outputs, seed=2)


def weights(*modules: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for module in modules for p in module.parameters()])


def trained(
    form: Form = "chain", settings: TrainingSettings = QUICK, checkpoint: Path | None = None, seed: int = 0
) -> tuple[torch.Tensor, Curve]:
    adapter, head = fresh(form)
    curve = train(adapter, head, data(form), settings, checkpoint=checkpoint, seed=seed)
    return weights(adapter, head), curve


def changed(**settings: object) -> TrainingSettings:
    return TrainingSettings(**{"epochs": 3, "batch": 8, "learning_rate": 1e-3} | settings)


@pytest.mark.parametrize("form", ["chain", "gated", "multiscale"])
def test_training_lowers_the_loss_and_moves_every_weight(form: Form) -> None:
    adapter, head = fresh(form)
    before = {name: p.clone() for m in (adapter, head) for name, p in m.named_parameters()}
    curve = train(adapter, head, data(form), changed(epochs=8))
    assert curve.epochs[-1] < 0.8 * curve.epochs[0]
    assert len(curve.epochs) == 8 and len(curve.losses) == 8 * curve.steps_per_epoch
    assert not adapter.training and not head.training
    for m in (adapter, head):
        for name, p in m.named_parameters():
            assert not torch.equal(p, before[name]), name


@pytest.mark.parametrize("form", ["chain", "gated", "multiscale"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(form: Form) -> None:
    state = torch.random.get_rng_state()
    one, same, other = (trained(form, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_batch_taken_in_parts_gives_the_same_result() -> None:
    whole, curve = trained()
    for parts in (2, 3, 4):
        in_parts, other = trained(settings=changed(parts=parts))
        torch.testing.assert_close(in_parts, whole, rtol=1e-3, atol=2e-5)
        assert other.losses == pytest.approx(curve.losses, abs=1e-5)


def test_adamw_does_the_first_step_as_published() -> None:
    """Loshchilov & Hutter 2019: decay apart from the gradient; the first step is lr · sign(gradient)."""
    adapter, head = fresh()
    before = head.layers[-1].bias.detach().clone()  # type: ignore[operator]
    settings = changed(epochs=1, batch=60, learning_rate=1e-2, weight_decay=0.5)
    train(adapter, head, data(normal=30), settings)
    after = head.layers[-1].bias.detach()  # type: ignore[operator]
    decayed = before * (1 - 1e-2 * 0.5)
    assert (after - decayed).abs().item() == pytest.approx(1e-2, rel=1e-3)


def test_a_run_that_stops_goes_on_from_its_checkpoint_to_the_same_result(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def killed_after_two(epochs: Iterable[int], total: int, description: str) -> Iterable[int]:
        for epoch in epochs:
            if epoch == 2:
                raise Killed
            yield epoch

    path = tmp_path / "run" / "training.safetensors"
    settings = changed(epochs=4)
    with pytest.raises(Killed):
        train(*fresh(), data(), settings, checkpoint=path, track=killed_after_two)
    resumed, curve = trained(settings=settings, checkpoint=path)
    straight, whole = trained(settings=settings)
    assert torch.equal(resumed, straight)
    assert curve.losses == whole.losses
    # Finished: nothing is left to do, and the result is the same again.
    again, _ = trained(settings=settings, checkpoint=path)
    assert torch.equal(again, straight)
    assert [file.name for file in path.parent.iterdir()] == ["training.safetensors"]


def test_a_checkpoint_of_another_run_or_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    trained(checkpoint=path)
    with pytest.raises(InputError, match=r"training\.safetensors: from a run with other settings; delete it"):
        trained(settings=changed(learning_rate=1e-2), checkpoint=path)
    with pytest.raises(InputError, match="from a run with other data"):
        train(*fresh(), data(normal=21), QUICK, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        trained(checkpoint=path)
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(InputError, match="no checkpoint of a training run"):
        trained(checkpoint=path)


def test_a_loss_that_is_not_finite_stops_training_at_that_step_with_the_weights_before_it() -> None:
    broken = data()
    broken.synthetic[7, 3] = float("nan")
    adapter, head = fresh()
    with pytest.raises(
        InputError, match=r"training stopped at step \d+: the loss is nan; lower the learning"
    ) as caught:
        train(adapter, head, broken, QUICK)
    assert "\n" not in str(caught.value)
    assert torch.isfinite(weights(adapter, head)).all()


@pytest.mark.parametrize("loss", ["weighted", "confidence-map"])
def test_dense_training_learns_which_cells_are_defective(loss: str) -> None:
    generator = torch.Generator().manual_seed(0)
    normal, synthetic = (torch.randn(12, 4, 5, WIDTH, generator=generator) for _ in range(2))
    masks = torch.rand(12, 4, 5, generator=generator) < 0.3
    synthetic[masks] += 1.5
    adapter, head = fresh(outputs=2 if loss == "confidence-map" else 1)
    settings = changed(epochs=25, loss=loss, learning_rate=2e-3)
    curve = train(adapter, head, TrainingData(normal, synthetic, masks), settings)
    assert curve.epochs[-1] < curve.epochs[0]
    with torch.no_grad():
        logits = head(adapter(synthetic))[..., 0]
    assert logits[masks].mean() > logits[~masks].mean() + 1


def test_rows_from_a_mapped_file_train_like_rows_in_memory(tmp_path: Path) -> None:
    in_memory = data()
    mapped = mapped_rows(tmp_path / "normal.bin", tuple(in_memory.normal.shape))
    mapped[:] = in_memory.normal
    reopened = mapped_rows(tmp_path / "normal.bin", tuple(in_memory.normal.shape))
    adapter, head = fresh()
    train(adapter, head, TrainingData(reopened, in_memory.synthetic), QUICK)
    assert torch.equal(weights(adapter, head), trained()[0])
    with pytest.raises(InputError, match="cannot be set aside"):
        mapped_rows(tmp_path / "absent" / "normal.bin", (2, 2))


def test_bf16_trains_to_nearly_the_same_losses() -> None:
    _, curve = trained()
    _, mixed = trained(settings=changed(precision="bf16"))
    assert mixed.losses != curve.losses
    assert mixed.losses == pytest.approx(curve.losses, abs=0.03)


def test_the_curve_has_the_mean_of_each_epoch() -> None:
    _, curve = trained()
    assert len(curve.epochs) == 3
    assert curve.epochs[0] == pytest.approx(sum(curve.losses[:8]) / 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "training.epochs=0: .* greater than or equal to 1"),
        ({"batch": 7}, "training.batch=7: .* multiple of 2"),
        ({"batch": 0}, "training.batch=0: .* greater than or equal to 2"),
        ({"batch": 8, "parts": 5}, "training.parts=5: .* give 1 to 4 parts"),
        ({"learning_rate": 0.0}, "training.learning_rate=0.0: .* greater than 0"),
        ({"learning_rate": float("nan")}, "training.learning_rate=nan"),
        ({"temperature": -1.0}, "training.temperature=-1.0: .* greater than 0"),
        ({"precision": "fp8"}, "training.precision='fp8'"),
    ],
)
def test_settings_out_of_bounds_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        preset("v1.1").override({f"training.{key}": value for key, value in settings.items()})


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(InputError, match="there are 20 and 0"):
        data(synthetic=0)


def test_small_steps_take_one_core_and_give_the_others_back() -> None:
    torch.set_num_threads(2)
    cpu = torch.device("cpu")
    with cores_for(torch.zeros(5, 8), 32, cpu):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with cores_for(torch.zeros(5, 37, 37, 8), 32, cpu):
        assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


_WORKER = """
import os, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from tests.adapted.training.test_loop import changed, trained
torch.set_num_threads(1)
folder = Path(sys.argv[1])
weights, _ = trained(settings=changed(parts=2), checkpoint=folder / "training.safetensors")
_, gated = trained("gated")
results = {"weights": weights, "gated": torch.tensor(gated.losses)}
save_file(results, folder / (os.environ["RANK"] + ".safetensors"))
"""


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(tmp_path)],
            env=os.environ | ours | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    both = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    assert torch.equal(both[0]["weights"], both[1]["weights"])
    torch.testing.assert_close(both[0]["weights"], trained()[0], rtol=1e-3, atol=2e-5)
    # While B is zero the layers' outputs are equal, so queries and keys have no gradient but rounding,
    # which AdamW blows up: the weights of this form differ where they do not matter.
    assert both[0]["gated"].tolist() == pytest.approx(trained("gated")[1].losses, abs=1e-4)
    assert (tmp_path / "training.safetensors").is_file()
