"""Built-in architectures: models from float (N, ...) to logits (N, classes).

Images (N, channels, height, width) are pixels / 255 in [0, 1]: no model normalises by mean and deviation. Every factory takes
the `input_shape` of one input, for instance (channels, height, width), and the number of `classes`, at least 2. It raises an
OptionError for inputs that it cannot take.
"""

from __future__ import annotations

from benchbench.contract import Capabilities, Offer
from benchbench.version import install_command

OFFERS: tuple[Offer, ...] = (
    Offer(
        name="cnn1",
        summary="Two convolutions and two dense layers with dropout: the small MNIST network",
        factory="benchbench.builtin.architectures.cnn:make_cnn1",
        capabilities=Capabilities(smallest_input=(6, 6)),
        citation="Yang, Rashtchian, Zhang, Salakhutdinov, Chaudhuri: A Closer Look at Accuracy vs. Robustness, 2020",
    ),
    Offer(
        name="cnn2",
        summary="Four convolutions and three dense layers: the SmallCNN of TRADES",
        factory="benchbench.builtin.architectures.cnn:make_cnn2",
        capabilities=Capabilities(smallest_input=(16, 16)),
        citation="Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan: Theoretically Principled Trade-off between Robustness and "
        "Accuracy, 2019",
    ),
    Offer(
        name="wrn",
        summary="Wide residual network with pre-activation blocks: WRN-40-10 by default",
        factory="benchbench.builtin.architectures.wide_resnet:make_wide_resnet",
        capabilities=Capabilities(smallest_input=(8, 8)),
        citation="Zagoruyko, Komodakis: Wide Residual Networks, 2016",
    ),
    Offer(
        name="mlp",
        summary="Dense layers with ReLU between them, for inputs of any shape",
        factory="benchbench.builtin.architectures.mlp:make_mlp",
    ),
    Offer(
        name="resnet50",
        summary="The standard ResNet50: 7x7 stride-2 stem and max-pool at every input size",
        factory="benchbench.builtin.architectures.timm_models:make_resnet50",
        capabilities=Capabilities(smallest_input=(32, 32), requires={"timm": install_command("timm")}),
        citation="He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2016",
    ),
    Offer(
        name="timm",
        summary="Any architecture of timm by its name, for instance timm:resnet18",
        factory="benchbench.builtin.architectures.timm_models:make_timm_model",
        members="benchbench.builtin.architectures.timm_models:list_timm_models",
        citation="Wightman: PyTorch Image Models, 2019",
    ),
    Offer(
        name="cubic-spline",
        summary="Ridge regression on cubic B-splines: the model of the staircase",
        factory="benchbench.builtin.regression.spline:make_cubic_spline",
        capabilities=Capabilities(
            task="regression",
            minimum_classes=0,
            requires=dict.fromkeys(("cvxpy", "clarabel"), install_command("staircase")),
        ),
        citation="Yang, Rashtchian, Zhang, Salakhutdinov, Chaudhuri: Adversarial Robustness Through Local Lipschitzness, "
        "2020, after Raghunathan et al., 2019",
    ),
)
