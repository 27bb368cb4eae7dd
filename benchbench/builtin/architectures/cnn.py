"""CNN1 and CNN2, the two small convolutional networks of the MNIST experiments."""

from __future__ import annotations

from collections import OrderedDict

from benchbench.builtin.architectures.requirements import image_shape, require_classes
from benchbench.builtin.deferred import nn

CNN1_SMALLEST = (6, 6)  # for two unpadded 3x3 convolutions and pooling by two
CNN2_SMALLEST = (16, 16)  # for all of that twice


def make_cnn1(*, input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """CNN1 of PyTorch's old MNIST example: 2 convolutions, 2 dense layers, PyTorch's defaults."""
    image = image_shape("cnn1", input_shape, smallest=CNN1_SMALLEST)
    require_classes("cnn1", classes)
    features = 64 * _pooled(image.height) * _pooled(image.width)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(image.channels, 32, 3),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, 3),  # the protocol has no ReLU after it
            pool=nn.MaxPool2d(2),
            dropout1=nn.Dropout2d(0.25),
            flatten=nn.Flatten(),
            dense1=nn.Linear(features, 128),
            relu2=nn.ReLU(),
            dropout2=nn.Dropout(0.5),
            dense2=nn.Linear(128, classes),
        )
    )


def make_cnn2(*, input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """CNN2, the SmallCNN of TRADES: four convolutions and three dense layers.

    Zhang et al., 2019, after Carlini & Wagner, 2017. Convolutions are initialised Kaiming-normal with zero bias, the
    last layer with zeros: an untrained CNN2 returns 0.
    """
    image = image_shape("cnn2", input_shape, smallest=CNN2_SMALLEST)
    require_classes("cnn2", classes)
    features = 64 * _pooled(_pooled(image.height)) * _pooled(_pooled(image.width))
    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(image.channels, 32, 3),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 32, 3),
            relu2=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv3=nn.Conv2d(32, 64, 3),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(64, 64, 3),
            relu4=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            dense1=nn.Linear(features, 200),
            relu5=nn.ReLU(),
            dropout=nn.Dropout(0.5),
            dense2=nn.Linear(200, 200),
            relu6=nn.ReLU(),
            dense3=nn.Linear(200, classes),
        )
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for parameter in model.get_submodule("dense3").parameters():
        nn.init.zeros_(parameter)
    return model


def _pooled(size: int) -> int:
    """Pixels left of a side after two unpadded 3x3 convolutions and pooling by two."""
    return (size - 4) // 2
