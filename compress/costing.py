"""What a pretraining will take: memory of a device, arithmetic, hours; nothing is trained."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from train.models.keyword_transformer_config import KeywordTransformerConfig
from train.models.patches_config import PatchesConfig

from .cost.keyword_transformer import keyword_activation_bytes, keyword_macs
from .cost.macs import SAMPLE_RATE, macs
from .cost.memory import FLOAT, HALF, layer_bytes
from .cost.patches import patch_macs
from .patch_costing import patch_activation_bytes, patch_forward_macs

if TYPE_CHECKING:
    from train.config import EncoderConfig, PretrainRecipe
    from train.models.wav2vec2_config import Wav2Vec2Config
    from train.objectives.dmae import Recipe as DmaeRecipe

TFLOPS = 25.0
"""Sustained by default: 35 % of the 71 that an RTX 3090 is sold with for dense bfloat16."""

_GPUS = (1, 32)
_DEVICE_GB = 24.0
_GB = 1e9


@dataclass(frozen=True)
class Shape:
    """What of an objective costs something: asked of its recipe and of the module it builds."""

    encoder_params: int
    """Of the encoder that learns."""
    trained_params: int
    """The same and the heads: these have gradients and two moments of Adam."""
    frozen_params: int
    """Of a teacher that follows, or that stays as it is."""
    num_masks: int
    """Masked copies of an utterance that go through the context network."""
    shown_ratio: float
    """Share of its frames that the layers see of a copy."""
    teacher: PatchesConfig | None = None
    """Sizes of a teacher that is given."""

    @property
    def head_params(self) -> int:
        """Of what is trained beside the encoder; each is used about once a frame."""
        return self.trained_params - self.encoder_params


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the end of a forward pass."""

    weights: int
    """float32, the teacher's included; in bf16 with the copies that products take."""
    gradients: int
    """float32."""
    moments: int
    """Adam's two, float32."""
    activations: int
    """What the backward pass of one pass needs, and what a teacher's pass keeps."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.moments + self.activations


def pretraining_cost(
    recipe: "PretrainRecipe", tflops: float | None = None, *, teacher: PatchesConfig | None = None
) -> dict[str, Any]:
    """Everything that can be told of a recipe without data.

    Args:
        recipe: of any objective.
        tflops: what a GPU sustains, in 10^12 operations per second; None: `TFLOPS`.
        teacher: sizes of the frozen teacher, where the recipe needs one.
    """
    shape, batch = shape_of(recipe, teacher), recipe.batch
    updates = _updates(recipe)
    flops = training_flops(recipe, shape, updates)
    pass_seconds = min(batch.device_seconds or batch.seconds, batch.seconds)
    memory = memory_of(recipe, shape, pass_seconds)
    by_second = memory.activations / pass_seconds
    room = _DEVICE_GB * _GB - (memory.total - memory.activations)
    return {
        "objective_params": {
            "all": shape.trained_params + shape.frozen_params,
            "trained": shape.trained_params,
            "heads": shape.head_params,
            "teacher": shape.frozen_params,
        },
        "encoder_gmacs_per_second_of_audio": round(_macs_of_a_second(recipe.encoder) / 1e9, 3),
        "updates": updates,
        "hours_of_audio_seen_at_most": round(updates * batch.seconds / 3600, 1),
        "passes_per_update_on_1_device": batch.passes(1),
        "memory_gb_of_a_device": {
            "total": _gb(memory.total),
            "weights": _gb(memory.weights),
            "gradients": _gb(memory.gradients),
            "adam": _gb(memory.moments),
            "activations": _gb(memory.activations),
        },
        "seconds_of_audio_per_pass": pass_seconds,
        "seconds_of_audio_per_pass_in_24_gb": max(0.0, round(0.8 * room / by_second, 1)),
        "training_flops": flops,
        **hours_on_gpus(flops, tflops),
    }


def hours_on_gpus(flops: float, tflops: float | None) -> dict[str, Any]:
    """Hours of so many floating-point operations on one GPU and on more, and what is assumed."""
    rate = f"{tflops or TFLOPS:g} TFLOP/s sustained on each GPU"
    if tflops is None:
        rate += " (35 % of an RTX 3090's 71 in bf16)"
    hours: dict[str, Any] = {
        f"hours_on_{number}_gpu{'s' * (number > 1)}": round(
            flops / ((tflops or TFLOPS) * 1e12 * number) / 3600, 1
        )
        for number in _GPUS
    }
    return hours | {"hours_assume": f"{rate}, all the time; --tflops takes yours"}


def _macs_of_a_second(config: "EncoderConfig") -> int:
    if isinstance(config, PatchesConfig):
        return patch_macs(config).total
    if isinstance(config, KeywordTransformerConfig):
        return round(keyword_macs(config).total * SAMPLE_RATE / config.window_samples)
    return macs(config).total


def shape_of(recipe: "PretrainRecipe", teacher: PatchesConfig | None = None) -> Shape:
    """Build the recipe's objective without memory and count it; `teacher` as for the cost."""
    import torch

    from train.models.families import family_of
    from train.objectives.hubert import Hubert
    from train.objectives.hubert import Recipe as HubertRecipe
    from train.pretrain import get_objective
    from train.targets.units import Units

    with torch.device("meta"):
        encoder: Any = family_of(recipe.encoder).build(recipe.encoder)
        if isinstance(recipe, HubertRecipe):  # the round with the largest head
            most = max(this.num_clusters for this in recipe.rounds)
            objective: Any = Hubert(encoder, recipe, Units({}, 50, most))
        elif teacher is not None:
            frozen = family_of(teacher).build(teacher)
            objective = get_objective(recipe.objective).build(encoder, recipe, frozen)
        else:
            objective = get_objective(recipe.objective).build(encoder, recipe)
    weights = list(objective.parameters())
    return Shape(
        encoder_params=sum(weight.numel() for weight in encoder.parameters()),
        trained_params=sum(weight.numel() for weight in weights if weight.requires_grad),
        frozen_params=sum(weight.numel() for weight in weights if not weight.requires_grad),
        num_masks=getattr(recipe, "num_masks", 1),
        # An objective with a share to hide leaves it out; others put a mask embedding there.
        shown_ratio=1.0 - getattr(recipe, "mask_ratio", 0.0),
        teacher=teacher,
    )


def training_flops(recipe: "PretrainRecipe", shape: Shape, updates: int) -> float:
    """Floating-point operations of all updates, of utterances as long as a crop.

    A multiply-accumulate is 2; a backward pass takes twice its forward pass, once for the weights
    and once for the inputs. So what learns costs 6 and a teacher, which only runs forward, 2.
    """
    learning, teacher = forward_macs(recipe, shape)
    flops_per_second = (6 * learning + 2 * teacher) / recipe.batch.crop_seconds
    return flops_per_second * recipe.batch.seconds * updates


def forward_macs(recipe: "PretrainRecipe", shape: Shape) -> tuple[int, int]:
    """Multiply-accumulates of a crop's forward pass: of what learns, and of its teacher.

    Extractor and projection run once; positions, layers and heads once for each masked copy, the
    layers over what they are shown.
    """
    if isinstance(recipe.encoder, PatchesConfig):
        return patch_forward_macs(cast("DmaeRecipe", recipe), shape.teacher)
    if isinstance(recipe.encoder, KeywordTransformerConfig):
        window = keyword_macs(recipe.encoder)
        heads = shape.head_params * recipe.encoder.window_frames
        return window.total + heads, window.projection + window.layers
    config, crop = recipe.encoder, round(recipe.batch.crop_seconds * SAMPLE_RATE)
    student = macs(config, crop, shown_ratio=shape.shown_ratio)
    heads = shape.head_params * config.num_frames(crop)
    learning = student.extractor + student.projection
    learning += shape.num_masks * (student.context + heads)
    return learning, macs(config, crop).context if shape.frozen_params else 0


def memory_of(recipe: "PretrainRecipe", shape: Shape, pass_seconds: float) -> Memory:
    """Estimate a device's memory: 16 bytes a trained weight, 4 a frozen one, and activations.

    Activations grow with the audio of a pass. Attention is taken to be fused, as on a GPU, so that
    its weights are not kept; ALiBi's are, because its scales learn. Tests measure peaks of tiny
    models on a CPU: in float32 they lie within a fifth of this, in bf16 up to a third below, since
    a CPU's norms work in bfloat16 and a GPU's in float32. What a driver and an allocator take comes
    on top.
    """
    half = HALF if recipe.devices.precision == "bf16" else FLOAT
    crop = min(recipe.batch.crop_seconds, pass_seconds)
    if isinstance(recipe.encoder, PatchesConfig):
        by_utterance: float = patch_activation_bytes(
            cast("DmaeRecipe", recipe), shape.teacher, half
        )
    elif isinstance(recipe.encoder, KeywordTransformerConfig):
        by_utterance = keyword_activation_bytes(
            recipe.encoder, half, teacher=shape.frozen_params > 0
        )
    else:
        by_utterance = _activation_bytes(recipe, recipe.encoder, shape, crop, half)
    all_params = shape.trained_params + shape.frozen_params
    return Memory(
        weights=FLOAT * all_params + (half * all_params if half < FLOAT else 0),
        gradients=FLOAT * shape.trained_params,
        moments=2 * FLOAT * shape.trained_params,
        activations=round(by_utterance / crop * pass_seconds),
    )


def _activation_bytes(
    recipe: "PretrainRecipe", config: "Wav2Vec2Config", shape: Shape, crop: float, half: int
) -> float:
    """What an utterance of `crop` seconds keeps at the end of a forward pass over frames."""
    frames = config.num_frames(round(crop * SAMPLE_RATE))
    shown, copies = shape.shown_ratio * frames, shape.num_masks
    dim, depth = config.embed_dim, config.num_layers
    layers = sum(
        layer_bytes(dim, heads * config.head_dim, ffn, half, masks=config.dropout > 0)
        for heads, ffn in zip(config.num_heads, config.ffn_dim, strict=True)
    )
    by_utterance: float = _extractor_bytes(config, round(crop * SAMPLE_RATE), half)
    by_utterance += copies * (shown * layers + frames * 3 * FLOAT * dim * config.pos_conv_depth)
    if config.alibi:
        by_utterance += copies * 2 * FLOAT * config.num_heads[0] * shown**2
    decoder = getattr(recipe, "decoder", None)
    if decoder is not None:  # what layers were not shown is filled up, and goes through a decoder
        by_utterance += copies * frames * FLOAT * (7 * dim + 3 * decoder.dim * decoder.num_layers)
    if shape.frozen_params:
        by_utterance += frames * 2 * (depth + 1) * FLOAT * dim
    return by_utterance


def _extractor_bytes(config: "Wav2Vec2Config", num_samples: int, half: int) -> int:
    """What one utterance leaves behind before positions: each layer's output around its GELU."""
    total, length = 0, num_samples
    for index, conv in enumerate(config.conv_layers):
        length = (length - conv.kernel) // conv.stride + 1
        normed = config.conv_norm == "layer" or index == 0
        total += length * conv.channels * (2 * FLOAT + half if normed else 2 * half)
    frames, channels = length, config.conv_layers[-1].channels
    return total + frames * (FLOAT + half) * (channels + config.embed_dim)


def _updates(recipe: "PretrainRecipe") -> int:
    parts: Any = getattr(recipe, "rounds", (recipe,))
    return sum(part.updates for part in parts)


def _gb(size_bytes: int) -> float:
    return round(size_bytes / _GB, 2)
