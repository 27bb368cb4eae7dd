"""Built-in attacks."""

from __future__ import annotations

from benchbench.contract import Capabilities, Offer

_PGD_CITATION = (
    'A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards Deep Learning Models Resistant to Adversarial '
    'Attacks", 2018, section 2.1'
)
_MT_CITATION = (
    'S. Gowal, J. Uesato, C. Qin, P.-S. Huang, T. Mann, P. Kohli, "An Alternative Surrogate Loss for PGD-based '
    'Adversarial Testing", 2019, section 3'
)
_AUTOATTACK_CITATION = (
    'F. Croce, M. Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free '
    'Attacks", 2020'
)
_FAB_CITATION = (
    'F. Croce, M. Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", 2020'
)
_SQUARE_CITATION = (
    'M. Andriushchenko, F. Croce, N. Flammarion, M. Hein, "Square Attack: a Query-Efficient Black-Box Adversarial '
    'Attack via Random Search", 2020'
)

OFFERS: tuple[Offer, ...] = (
    Offer(
        name="pgd",
        summary="Projected gradient ascent on the cross-entropy.",
        factory="benchbench.builtin.attacks.pgd:Pgd",
        capabilities=Capabilities(needs_gradients=True),
        citation=_PGD_CITATION,
    ),
    Offer(
        name="pgd-10",
        summary="PGD as the closer-look protocol has it: 10 steps of epsilon/5, random start, last iterate.",
        factory="benchbench.builtin.attacks.pgd:Pgd",
        preset={"steps": 10, "step_ratio": 0.2, "restarts": 1, "random_start": True, "keep": "last"},
        capabilities=Capabilities(needs_gradients=True),
        citation=_PGD_CITATION,
    ),
    Offer(
        name="mt",
        summary="Multi-targeted attack: one ascent for each wrong class, the best one counts.",
        factory="benchbench.builtin.attacks.multi_targeted:MultiTargeted",
        capabilities=Capabilities(needs_gradients=True),
        citation=_MT_CITATION,
    ),
    Offer(
        name="mt-20",
        summary="Multi-targeted as the closer-look protocol has it: 20 steps of epsilon/10 for each wrong class.",
        factory="benchbench.builtin.attacks.multi_targeted:MultiTargeted",
        preset={"steps": 20, "step_ratio": 0.1, "random_start": True},
        capabilities=Capabilities(needs_gradients=True),
        citation=_MT_CITATION,
    ),
    Offer(
        name="apgd",
        summary="Auto-PGD: gradient ascent with momentum that halves its own step size.",
        revision=2,
        factory="benchbench.builtin.attacks.autoattack.apgd:Apgd",
        capabilities=Capabilities(norms=("linf", "l2"), needs_gradients=True),
        citation=f"{_AUTOATTACK_CITATION}, section 3",
    ),
    Offer(
        name="fab",
        summary="Targeted FAB: walks along the decision boundary to the closest adversarial example.",
        factory="benchbench.builtin.attacks.autoattack.fab:Fab",
        capabilities=Capabilities(norms=("linf", "l2"), needs_gradients=True),
        citation=_FAB_CITATION,
    ),
    Offer(
        name="square",
        summary="Square Attack: random search with squares, without gradients.",
        factory="benchbench.builtin.attacks.autoattack.square:Square",
        capabilities=Capabilities(norms=("linf", "l2")),
        citation=_SQUARE_CITATION,
    ),
    Offer(
        name="autoattack",
        summary="AutoAttack, standard: APGD-CE, targeted APGD-DLR, targeted FAB, Square; the pointwise worst case.",
        revision=2,
        factory="benchbench.builtin.attacks.autoattack.standard:AutoAttack",
        capabilities=Capabilities(norms=("linf", "l2"), needs_gradients=True),
        citation=_AUTOATTACK_CITATION,
    ),
    Offer(
        name="foolbox",
        summary="Any attack of Foolbox that has an L-inf, L2 or L1 distance, by its class name.",
        factory="benchbench.builtin.attacks.foolbox_family:foolbox_attack",
        capabilities=Capabilities(needs_gradients=True),
        citation=(
            'J. Rauber, R. Zimmermann, M. Bethge, W. Brendel, "Foolbox Native: Fast adversarial attacks to benchmark the '
            'robustness of machine learning models in PyTorch, TensorFlow, and JAX", 2020'
        ),
        members="benchbench.builtin.attacks.foolbox_family:members",
    ),
    Offer(
        name="exact",
        summary="Regression: the worst of x - epsilon, x and x + epsilon.",
        factory="benchbench.builtin.regression.exact:Exact",
        capabilities=Capabilities(task="regression", minimum_classes=0, norms=("linf",)),
        citation="Yang, Rashtchian, Zhang, Salakhutdinov, Chaudhuri: Adversarial Robustness Through Local Lipschitzness, "
        "2020, appendix C",
    ),
)
