"""timm's architectures, and ResNet50 among them."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file

from benchbench.builtin.architectures.requirements import ImageShape
from benchbench.builtin.architectures.timm_fitting import fitting_options
from benchbench.builtin.architectures.timm_models import _timm, list_timm_models, make_resnet50, make_timm_model
from benchbench.contract import OptionError
from benchbench.registry import load_registry


def resnet50_parameters(channels, classes):
    """By the table of He et al.: bottlenecks of 1x1, 3x3 and 1x1 convolutions, each with a batch normalisation."""
    total, before = 49 * channels * 64 + 128, 64
    for blocks, inner in ((3, 64), (4, 128), (6, 256), (3, 512)):
        outer = 4 * inner
        total += before * outer + 2 * outer  # the shortcut of the first block
        for _ in range(blocks):
            total += before * inner + 9 * inner * inner + inner * outer + 4 * inner + 2 * outer
            before = outer
    return total + before * classes + classes


def test_resnet50_is_the_standard_one_at_64_pixels_too():
    with torch.device("meta"):
        model = make_resnet50(input_shape=(3, 64, 64), classes=9)
        assert model(torch.empty(2, 3, 64, 64)).shape == (2, 9)
        stem = model.maxpool(model.conv1(torch.empty(2, 3, 64, 64)))
    assert sum(p.numel() for p in model.parameters()) == resnet50_parameters(3, 9)
    assert resnet50_parameters(3, 1000) == 25557032
    assert stem.shape == (2, 64, 16, 16)
    assert (model.conv1.kernel_size, model.conv1.stride) == ((7, 7), (2, 2))


def test_resnet50_blocks_do_not_start_as_the_identity():
    model = make_resnet50(input_shape=(1, 32, 32), classes=2)
    assert (model.layer1[0].bn3.weight == 1).all()


@pytest.mark.parametrize("member", ["test_resnet", "test_vit", "resnet18"])
def test_members_take_the_channels_size_and_classes_of_the_data(member):
    model = make_timm_model(member=member, input_shape=(1, 32, 64), classes=5)
    assert model.training
    assert model(torch.rand(2, 1, 32, 64)).shape == (2, 5)


def test_members_are_timms_models():
    members = list(list_timm_models())
    assert {"resnet50", "vit_base_patch16_224", "wide_resnet50_2", "resnet18.a1_in1k"} <= set(members)


def test_particular_weights_are_named_as_a_member():
    component = load_registry().resolve("architecture", "timm:test_resnet.r160_in1k", {"pretrained": False})
    assert component.name == "timm:test_resnet.r160_in1k"
    assert make_timm_model(member="test_resnet.r160_in1k", input_shape=(3, 32, 32), classes=4).num_classes == 4


def test_published_stem_is_kept_where_it_takes_the_size():
    model = make_timm_model(member="test_vit", input_shape=(3, 32, 32), classes=5)
    assert model.patch_embed.patch_size == (16, 16)


def test_patches_are_made_finer_where_the_published_ones_do_not_fit():
    model = make_timm_model(member="test_vit", input_shape=(1, 28, 28), classes=5)
    assert model.patch_embed.patch_size == (7, 7)
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 5)


def test_patches_leave_no_pixel_out():
    model = make_timm_model(member="vit_tiny_patch16_224", input_shape=(1, 28, 28), classes=5).eval()
    assert model.patch_embed.patch_size == (7, 7)  # 16 and 8 would end before the image does
    images = torch.rand(1, 1, 28, 28, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(images).square().sum(), images)
    assert bool((gradient != 0).all())


@pytest.mark.parametrize(("member", "options"), [("mixer_s16_224", {}), ("vit_tiny_patch16_224", {"patch_size": 8})])
def test_patches_that_leave_a_part_of_the_image_out_are_refused(member, options):
    with torch.device("meta"), pytest.raises(OptionError, match=r"patches of \d+x\d+ pixels leave out \d+ rows and"):
        make_timm_model(member=member, input_shape=(1, 28, 28), classes=5, **options)


def test_stages_dilate_where_halving_would_leave_nothing():
    image = ImageShape(channels=1, height=28, width=28)
    assert fitting_options(_timm(), "inception_next_atto", image, {}) == {"output_stride": 16}
    model = make_timm_model(member="inception_next_atto", input_shape=(1, 28, 28), classes=5)
    assert model.eval()(torch.rand(1, 1, 28, 28)).shape == (1, 5)


def test_stem_is_what_the_suite_asks_for():
    fine = make_timm_model(member="test_vit", input_shape=(3, 32, 32), classes=5, patch_size=4)
    assert fine.patch_embed.num_patches == 64
    dilated = make_timm_model(member="resnet18", input_shape=(3, 64, 64), classes=5, output_stride=8)
    assert dilated.forward_features(torch.rand(1, 3, 64, 64)).shape[2:] == (8, 8)


@pytest.mark.parametrize(("option", "value"), [("patch_size", 3), ("output_stride", 5)])
def test_stem_that_the_model_does_not_take_is_refused_not_replaced(option, value):
    member = "test_vit" if option == "patch_size" else "resnet18"
    with pytest.raises(OptionError, match="cannot be built"):
        make_timm_model(member=member, input_shape=(1, 28, 28), classes=5, **{option: value})


def published_weights(path):
    """A file such as timm downloads, for three channels and timm's own number of classes."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = _timm().create_model("test_resnet")
    save_file(model.state_dict(), path)
    return model.state_dict()


def test_weights_come_from_a_file_without_network(tmp_path):
    published = published_weights(tmp_path / "w.safetensors")
    torch.save(published, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        model = make_timm_model(
            member="test_resnet", input_shape=(1, 32, 32), classes=5, weights=str(tmp_path / name)
        ).state_dict()
        assert torch.equal(model["layer1.0.conv1.weight"], published["layer1.0.conv1.weight"])
        torch.testing.assert_close(model["conv1.0.weight"], published["conv1.0.weight"].sum(dim=1, keepdim=True))
        assert model["fc.weight"].shape[0] == 5


def test_weights_of_another_model_are_refused(tmp_path):
    published_weights(tmp_path / "w.safetensors")
    with pytest.raises(OptionError, match=r"timm:resnet18 cannot be built .*load.*state_dict"):
        make_timm_model(
            member="resnet18", input_shape=(3, 32, 32), classes=1000, weights=str(tmp_path / "w.safetensors")
        )


def test_weights_that_would_run_code_or_are_missing_are_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"conv1.0.weight": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(OptionError, match="cannot be built"):
        make_timm_model(member="test_resnet", input_shape=(3, 32, 32), classes=5, weights=str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(OptionError, match="there is no file"):
        make_timm_model(member="test_resnet", input_shape=(3, 32, 32), classes=5, weights=str(tmp_path / "no.pt"))


def test_download_without_network_says_what_to_do(tmp_path, monkeypatch):
    import timm.models._builder

    def unreachable(*arguments, **named):
        raise OSError("Name or service not known\nRetrying")

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", unreachable)
    with pytest.raises(OptionError) as caught:
        make_timm_model(member="test_resnet", input_shape=(3, 32, 32), classes=5, pretrained=True)
    assert "published weights cannot be had: Name or service not known" in str(caught.value)
    assert "weights = FILE" in str(caught.value)


@pytest.mark.filterwarnings("ignore:CSATv2 is designed for 3-channel")
@pytest.mark.parametrize(
    ("member", "shape", "reason"),
    [
        ("densenet121", (1, 28, 28), r"\(1, 28, 28\): .*too small\n *it takes 32x32 images"),
        ("vgg11", (1, 28, 28), r"too small\n *it takes 32x32 images"),
        pytest.param(  # says nothing itself
            *("bat_resnext26ts", (3, 224, 224), r"line \d+: .*block_size.*\n *it takes 256x256 images"),
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            *("csatv2", (1, 28, 28), r"invalid for input of size 2352\n *it is published for 512x512 images"),
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_size_that_nothing_makes_fit_is_refused_with_the_models_reason_and_a_size_that_fits(member, shape, reason):
    with torch.device("meta"), pytest.raises(OptionError, match=reason):
        make_timm_model(member=member, input_shape=shape, classes=5)


def test_encoder_without_a_classifier_is_refused():
    with torch.device("meta"), pytest.raises(OptionError, match=r"returns \(1, 4, 5120\).*\n *it is no classifier"):
        make_timm_model(member="deepseek_vit_412m_enc", input_shape=(3, 32, 32), classes=5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: make_timm_model(member="resnet5O", input_shape=(3, 32, 32), classes=5),
            "no model 'resnet5O'\n.*resnet50",
        ),
        (
            lambda: make_timm_model(member="resnet18", input_shape=(2,), classes=2),
            "timm:resnet18 takes images of shape",
        ),
        (lambda: make_resnet50(input_shape=(3, 28, 28), classes=9), "resnet50 takes images of at least 32x32"),
        (lambda: make_resnet50(input_shape=(3, 64, 64), classes=1), "at least 2 classes"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(make, message):
    with pytest.raises(OptionError, match=message):
        make()
