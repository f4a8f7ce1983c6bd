"""What each version trains, by category group: its adapter, how long, and on which synthetic defects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from anomalyvfm.adapted.adapters import Form
from anomalyvfm.adapted.in_encoder import encoder_of
from anomalyvfm.adapted.layers import check_rank
from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.presets import AdaptedPreset
from anomalyvfm.synthesis import MIXES, SCALES, Group, Order, mixes, orders


@dataclass(frozen=True)
class Plan:
    """An adapter's form, the rank and alpha of its low-rank layers, and how many epochs it is trained."""

    form: Form
    rank: int = 16
    alpha: float = 32.0
    epochs: int = 10


def _everywhere(plan: Plan) -> Mapping[Group, Plan]:
    return {"high-texture": plan, "high-performance": plan, "medium": plan}


PLANS: Mapping[str, Mapping[Group, Plan]] = MappingProxyType(
    {
        "v1.1": _everywhere(Plan("chain")),
        "v1.2": {
            "high-texture": Plan("chain", rank=32, alpha=64.0, epochs=12),
            "high-performance": Plan("chain", rank=8, alpha=16.0, epochs=6),
            "medium": Plan("chain"),
        },
        "v1.3": _everywhere(Plan("multiscale")),
        "v1.4": _everywhere(Plan("gated")),
    }
)
"""Version → category group → plan."""


def scales_of(version: str) -> tuple[float, ...]:
    """Shares of the frame's sides at which a version sees an image."""
    if PLANS[version]["medium"].form == "multiscale":
        return tuple(side / max(SCALES) for side in SCALES)
    return (1.0,)


def needs_group(settings: AdaptedPreset) -> bool:
    """Whether a version treats categories of one group otherwise than those of another."""
    return any(len(set(by_group.values())) > 1 for by_group in (PLANS[settings.name], MIXES[settings.name]))


def plan_for(settings: AdaptedPreset, group: Group) -> Plan:
    """The version's plan for a category group, with what the settings say otherwise."""
    plan = PLANS[settings.name][group]
    return Plan(
        plan.form,
        settings.lora.rank or plan.rank,
        settings.lora.alpha or plan.alpha,
        settings.training.epochs or plan.epochs,
    )


def orders_for(settings: AdaptedPreset, group: Group, seed: int) -> list[Order]:
    """The synthetic defects a version trains on."""
    left_out = settings.synthesis.leave_out
    chosen = mixes(settings.name, group)
    if left_out is not None:
        chosen = tuple(mix.without(left_out) for mix in chosen)
    return orders(chosen, settings.synthesis.count, seed)


def check_trainable(settings: AdaptedPreset, backbone: Backbone) -> None:
    """Raise InputError where these settings cannot train with this backbone, whatever the images."""
    lora = settings.lora
    plans = [plan_for(settings, group) for group in PLANS[settings.name]]
    # The group is not known yet: the least rank any group would get.
    check_rank(backbone.channels, min(plan.rank for plan in plans))
    if lora.where == "features":
        if lora.dora:
            raise InputError(
                "lora.dora=true goes with lora.where=encoder: it changes the encoder's own weights"
            )
        return
    encoder_of(backbone)
    if plans[0].form == "multiscale":
        raise InputError(
            f"{settings.name} joins features of several scales after the backbone: LoRA inside the encoder"
            " goes with v1.1, v1.2 and v1.4"
        )
    if settings.training.rows == "patches":
        raise InputError("training.rows=patches goes with lora.where=features: the encoder learns summaries")
