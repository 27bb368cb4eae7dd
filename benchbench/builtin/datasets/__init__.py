"""Built-in datasets.

`load` raises what `benchbench.contract.Dataset` says; the classes add only what is special. `locate` checks that the files are
there without reading them.
"""

from __future__ import annotations

from benchbench.contract import Capabilities, Offer

_ROOM = "benchbench.builtin.datasets"

OFFERS: tuple[Offer, ...] = (
    Offer(
        name="mnist",
        summary="handwritten digits, 60,000 + 10,000 grey images of 28x28, 10 classes",
        factory=f"{_ROOM}.mnist:Mnist",
        capabilities=Capabilities(minimum_classes=10, channels=(1,)),
        citation="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998",
    ),
    Offer(
        name="cifar-10",
        summary="photographs of ten kinds, 50,000 + 10,000 colour images of 32x32, 10 classes",
        factory=f"{_ROOM}.cifar10:Cifar10",
        capabilities=Capabilities(minimum_classes=10, channels=(3,)),
        citation="Krizhevsky: Learning multiple layers of features from tiny images, 2009",
    ),
    Offer(
        name="svhn",
        summary="house numbers, 73,257 + 26,032 colour images of 32x32, 10 classes",
        factory=f"{_ROOM}.svhn:Svhn",
        capabilities=Capabilities(minimum_classes=10, channels=(3,)),
        citation="Netzer et al.: Reading digits in natural images with unsupervised feature learning, 2011",
    ),
    Offer(
        name="digits",
        summary="handwritten digits inside scikit-learn, 1,437 + 360 grey images of 8x8 enlarged to 16x16, 10 classes",
        factory=f"{_ROOM}.digits:Digits",
        capabilities=Capabilities(minimum_classes=10, channels=(1,)),
        citation="Alpaydin, Kaynak: Optical recognition of handwritten digits, UCI repository, 1998",
    ),
    Offer(
        name="image-folder",
        summary="any folder of images: train/<class>/ and test/<class>/",
        factory=f"{_ROOM}.image_folder:ImageFolder",
        capabilities=Capabilities(channels=(1, 3)),
    ),
    Offer(
        name="parquet-images",
        summary="encoded images and labels in Parquet files, as Hugging Face stores them",
        factory=f"{_ROOM}.parquet_images:ParquetImages",
        capabilities=Capabilities(channels=(1, 3)),
    ),
    Offer(
        name="restricted-imagenet",
        summary="nine groups of ImageNet classes, 257,748 + 10,150 colour images, 64x64, 9 classes",
        factory=f"{_ROOM}.restricted_imagenet:RestrictedImagenet",
        capabilities=Capabilities(minimum_classes=9, channels=(3,)),
        citation="Tsipras et al.: Robustness may be at odds with accuracy, 2019; Deng et al.: ImageNet, 2009",
    ),
    Offer(
        name="spiral",
        summary="two interleaved spirals in the plane, 2 classes",
        factory=f"{_ROOM}.spiral:Spiral",
        citation="Yang et al.: A closer look at accuracy vs. robustness, 2020, figure 4",
    ),
    Offer(
        name="staircase",
        summary="stairs with noise, a regression on one feature: 40 + 10,000 points, or 30,000 + 15,000",
        factory="benchbench.builtin.regression.staircase:Staircase",
        capabilities=Capabilities(minimum_classes=0, task="regression"),
        citation="Raghunathan et al.: Understanding and mitigating the tradeoff between robustness and accuracy, 2020",
    ),
)
