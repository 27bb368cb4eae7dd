"""Models whose PGD-10 robust accuracy is ten or more points too high, by several mechanisms.

The halves hold different mechanisms, and different seeds and radii for similar ones. The last two of the tuning half hide
nothing: PGD-10 is too weak for them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchbench.builtin.defenses.natural import Natural
from benchbench.contract import Threat
from benchmarks.zoo import layers
from benchmarks.zoo.case import Case, Entry, Half
from benchmarks.zoo.honest import L2, fitted_distance, on_digits, scaled
from benchmarks.zoo.layers import After, Before
from benchmarks.zoo.training import THREAT, AtTemperature, digits, fit, mlp, trained

SHATTERED = "Athalye, Carlini, Wagner 2018, section 2.1: shattered gradients"
VANISHING = "Athalye, Carlini, Wagner 2018, section 2.1: vanishing gradients"
STOCHASTIC = "Athalye, Carlini, Wagner 2018, section 2.1: stochastic gradients"
CHECKLIST = "Carlini et al. 2019, On Evaluating Adversarial Robustness, section 3"
ADAPTIVE = "Tramer, Carlini, Brendel, Madry 2020, On Adaptive Attacks"
INDICATORS = "Pintor et al. 2022, Indicators of Attack Failure"


def planted(
    name: str, half: Half, make: Callable[[], Case], mechanism: str, reference: str, *, random: bool = False
) -> Entry:
    """A planted entry."""
    return Entry(name=name, half=half, planted=True, make=make, mechanism=mechanism, reference=reference, random=random)


def over(inner: nn.Module, model: nn.Module, threat: Threat = THREAT) -> Case:
    """A case on digits whose surrogate is the inner model."""
    splits = digits()
    return Case(model=model, train=splits.train, test=splits.test, classes=10, threat=threat, surrogates=(inner,))


def before(
    change: Callable[[Tensor], Tensor], defense: str = "natural", seed: int = 0, threat: Threat = THREAT
) -> Case:
    """A trained MLP behind a change of its inputs."""
    inner = trained(defense, "mlp", seed)
    return over(inner, Before(inner, change), threat)


def after(change: Callable[[Tensor], Tensor], defense: str = "natural", seed: int = 0, threat: Threat = THREAT) -> Case:
    """A trained MLP with a change of its logits."""
    inner = trained(defense, "mlp", seed)
    return over(inner, After(inner, change), threat)


def taught(model: nn.Module, *, temperature: float = 1.0, threat: Threat = THREAT) -> nn.Module:
    """A network with a deceptive layer, trained through it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        for layer in model.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        defense = Natural() if temperature == 1 else AtTemperature(temperature)
        return fit(model, digits().train, defense, threat=threat, seed=11)


def with_activations(make: Callable[[], nn.Module]) -> Case:
    """An MLP with other activations."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), make(), nn.Linear(256, 10))
    return over(trained("natural", "mlp", 7), taught(model))


def thermometer_network() -> Case:
    """Trained on thermometer codes."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64 * 10, 128), nn.ReLU(), nn.Linear(128, 10))
    return over(trained(), taught(Before(model, layers.thermometer(10))))


def distilled() -> Case:
    """Trained at a temperature of 40, used at 1: logits forty times as large."""
    return over(trained("natural", "mlp", 7), taught(mlp(), temperature=40.0))


def forest() -> Case:
    """A hundred trees."""
    from sklearn.ensemble import RandomForestClassifier

    train = digits().train
    trees = RandomForestClassifier(n_estimators=50, random_state=0)
    trees.fit(train.inputs.flatten(1).double().numpy() / 255, train.labels.numpy())
    return over(trained("natural", "mlp", 7), layers.Trees(trees))


def nearest() -> Case:
    """The nearest neighbour in L2, under an L-inf ball."""
    train = digits().train
    return on_digits(layers.Nearest(train.inputs.float() / 255, train.labels, 10, power=400.0))


def noise(level: float) -> Callable[[Tensor], Tensor]:
    """Gaussian noise from torch's global generator."""
    return lambda images: images + level * torch.randn_like(images)


def flat(logits: Tensor) -> Tensor:
    """The same logits, without a gradient where the model is confident, as on a plateau."""
    best = logits.topk(2, dim=1).values
    sure = best[:, :1] - best[:, 1:] > 2.0
    return torch.where(sure, logits.detach(), logits)


def steps_of_logits(logits: Tensor) -> Tensor:
    """Logits rounded to whole numbers, which have no gradient."""
    return logits.round() + 0.0 * logits


def ripples(logits: Tensor) -> Tensor:
    """A ripple on every logit that is lower than their spread and steeper than their slope."""
    return logits + 0.3 * torch.sin(300.0 * logits)


def with_misleading_gradient(images: Tensor) -> Tensor:
    """The same value; the gradient points the other way."""
    return 2 * images.detach() - images


PLANTED = (
    planted("quantised", "tuning", lambda: before(layers.quantise(20)), "rounded pixels", SHATTERED),
    planted("wave", "tuning", lambda: before(layers.wave(0.02, 400.0)), "a steep sine on the pixels", SHATTERED),
    planted("saturated", "tuning", lambda: after(scaled(1e4)), "logits times 10,000: exp underflows", CHECKLIST),
    planted(
        "no-gradient", "tuning", lambda: before(layers.without_gradient), "a layer that returns no gradient", CHECKLIST
    ),
    planted("misleading", "tuning", lambda: before(with_misleading_gradient), "gradient of the wrong sign", INDICATORS),
    planted(
        "thermometer", "tuning", thermometer_network, "thermometer codes", "Buckman et al. 2018; Athalye et al. 2018"
    ),
    planted(
        "distance",
        "tuning",
        lambda: on_digits(fitted_distance(digits(), THREAT)),
        "a subgradient of one pixel",
        ADAPTIVE,
    ),
    planted("noise", "tuning", lambda: before(noise(0.3)), "noise at test time", STOCHASTIC, random=True),
    planted("jpeg", "tuning", lambda: before(layers.jpeg(0.25)), "rounded DCT coefficients", SHATTERED),
    planted("flat-loss", "tuning", lambda: after(flat), "no gradient where the model is sure", INDICATORS),
    planted(
        "quantised-at",
        "tuning",
        lambda: before(layers.quantise(16), "at"),
        "rounded pixels of a robust network",
        SHATTERED,
    ),
    planted("quantised-l2", "tuning", lambda: before(layers.quantise(20), threat=L2), "rounded pixels, L2", SHATTERED),
    planted(
        "wave-at", "tuning", lambda: before(layers.wave(0.02, 400.0), "at"), "a sine, on a robust network", SHATTERED
    ),
    planted(
        "gradient-regularised",
        "tuning",
        lambda: on_digits(trained("gr")),
        "a loss that is flat around the image only",
        "Finlay, Oberman 2021",
    ),
    planted(
        "linear",
        "tuning",
        lambda: on_digits(trained("natural", "linear")),
        "the loss climbs towards several classes at once",
        "Gowal et al. 2019, multi-targeted",
    ),
    planted(
        "winners",
        "held-out",
        lambda: with_activations(lambda: layers.WinnersTakeAll(0.1)),
        "k winners take all",
        ADAPTIVE,
    ),
    planted("binarised", "held-out", lambda: with_activations(layers.Steps), "activations 0 or 1", SHATTERED),
    planted("distilled", "held-out", distilled, "defensive distillation", "Carlini, Wagner 2016; Papernot et al. 2016"),
    planted("forest", "held-out", forest, "decision trees", "Papernot et al. 2016, Transferability; " + CHECKLIST),
    planted("nearest-l2", "held-out", nearest, "nearest neighbour with steep logits", CHECKLIST),
    planted("purified", "held-out", lambda: before(layers.purify(60, 0.9), seed=7), "iterated purification", VANISHING),
    planted(
        "median",
        "held-out",
        lambda: before(lambda x: layers.quantise(12)(layers.blur(x)), seed=7),
        "median filter, rounded",
        SHATTERED,
    ),
    planted(
        "voting",
        "held-out",
        lambda: over(trained("natural", "mlp", 7), layers.votes(*(trained("natural", "mlp", s) for s in (7, 8, 9)))),
        "votes of three networks",
        CHECKLIST,
    ),
    planted("ripples", "held-out", lambda: after(ripples, seed=7), "a ripple on the logits", SHATTERED),
    planted("rounded-logits", "held-out", lambda: after(steps_of_logits, seed=7), "rounded logits", CHECKLIST),
    planted(
        "noisy-gradient",
        "held-out",
        lambda: before(layers.noisy_gradient, "at", 7),
        "a gradient drowned in noise",
        INDICATORS,
    ),
    planted(
        "reverse-steps",
        "held-out",
        lambda: before(layers.staircase(24, 0.2), "at", 7),
        "steps that slope the wrong way",
        INDICATORS,
    ),
    planted(
        "resized",
        "held-out",
        lambda: before(layers.resized, seed=7),
        "random resizing and padding",
        STOCHASTIC,
        random=True,
    ),
    planted(
        "dropped",
        "held-out",
        lambda: before(lambda x: nn.functional.dropout(x, 0.3), seed=7),
        "dropout at test time",
        STOCHASTIC,
        random=True,
    ),
    planted(
        "saturated-l2", "held-out", lambda: after(scaled(3e3), seed=7, threat=L2), "logits times 3,000, L2", CHECKLIST
    ),
    planted(
        "gradient-regularised-cnn",
        "held-out",
        lambda: on_digits(trained("gr", "cnn", 7)),
        "a loss that is flat around the image only",
        "Finlay, Oberman 2021",
    ),
)
