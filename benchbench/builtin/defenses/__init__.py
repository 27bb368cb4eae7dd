"""Built-in defenses: the training methods of the closer-look protocol."""

from __future__ import annotations

from benchbench.contract import Capabilities, Offer

OFFERS: tuple[Offer, ...] = (
    Offer(
        name="natural",
        summary="Natural training: cross-entropy of clean images",
        factory="benchbench.builtin.defenses.natural:Natural",
        capabilities=Capabilities(uses_threat=False, task="any"),
    ),
    Offer(
        name="at",
        summary="Adversarial training: cross-entropy at PGD's adversarial images",
        factory="benchbench.builtin.defenses.adversarial:AdversarialTraining",
        capabilities=Capabilities(norms=("linf", "l2"), needs_gradients=True, task="any"),
        citation="Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial "
        "Attacks, 2018, equation 2.1",
    ),
    Offer(
        name="trades",
        summary="TRADES: clean cross-entropy plus beta times the KL divergence to the worst neighbour",
        factory="benchbench.builtin.defenses.trades:Trades",
        capabilities=Capabilities(norms=("linf", "l2"), needs_gradients=True, task="any"),
        citation="Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan: Theoretically Principled Trade-off between Robustness and "
        "Accuracy, 2019",
        revision=2,
    ),
    Offer(
        name="rst",
        summary="Robust self-training on labelled data: clean plus lam times adversarial cross-entropy",
        factory="benchbench.builtin.defenses.adversarial:RobustSelfTraining",
        capabilities=Capabilities(norms=("linf", "l2"), needs_gradients=True, task="any"),
        citation="Raghunathan, Xie, Yang, Duchi, Liang: Understanding and Mitigating the Tradeoff between Robustness and "
        "Accuracy, 2020; Carmon, Raghunathan, Schmidt, Liang, Duchi: Unlabeled Data Improves Adversarial Robustness, 2019",
    ),
    Offer(
        name="gr",
        summary="Gradient regularisation: penalise the loss's input gradient by a finite difference",
        factory="benchbench.builtin.defenses.gradient_regularisation:GradientRegularisation",
        capabilities=Capabilities(needs_gradients=True, uses_threat=False, task="any"),
        citation="Finlay, Oberman: Scaleable input gradient regularization for adversarial robustness, 2019",
    ),
    Offer(
        name="llr",
        summary="Local linearity regularisation: penalise the loss's deviation from linear, and its linear part",
        factory="benchbench.builtin.defenses.local_linearity:LocalLinearity",
        capabilities=Capabilities(norms=("linf", "l2"), needs_gradients=True, task="any"),
        citation="Qin, Martens, Gowal, Krishnan, Dvijotham, Fawzi, De, Stanforth, Kohli: Adversarial Robustness through "
        "Local Linearization, 2019",
        revision=2,
    ),
    Offer(
        name="distance",
        summary="The distance classifier of Theorem 4.2: no training, logits are -dist(x, class) / r in L-inf",
        factory="benchbench.builtin.defenses.distance:Distance",
        capabilities=Capabilities(norms=("linf",)),
        citation="Yang, Rashtchian, Zhang, Salakhutdinov, Chaudhuri: A Closer Look at Accuracy vs. Robustness, 2020, "
        "equations 1 and 2, Theorem 4.2",
    ),
)
