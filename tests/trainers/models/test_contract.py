"""What every network must do, whichever it is: a new one is tested by a subclass with its name."""

from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from tests.trainers.gradient_receiver import GradientReceiver
from trainers.binary.layers import SignActivation, binary_layers
from trainers.errors import UserError
from trainers.models import build_model, check_image_size, frozen_binary_layers, frozen_modules
from trainers.registry import model_named
from trainers.settings import APPROXIMATIONS
from trainers.testing import BATCH, CLASSES, ModelContract


class OwnModelContract(ModelContract):
    """What the project's own networks do besides: every option, and its bad values."""

    @pytest.mark.parametrize("approx", APPROXIMATIONS)
    def test_every_approximation_trains(self, approx: str) -> None:
        model = self.build(approx=approx)
        activations = [module for module in model.modules() if isinstance(module, SignActivation)]
        assert activations
        assert {module.approx for module in activations} == {approx}
        self.backward(model, self.images())
        first = next(layer for _, layer in binary_layers(model))
        assert first.get_parameter("weight").grad.abs().sum() > 0

    def test_nothing_is_frozen_unless_asked_for(self) -> None:
        model = self.build()
        assert frozen_modules(model) == []
        assert frozen_binary_layers(model) == set()

    def test_an_unknown_option_is_refused_with_the_allowed_ones(self) -> None:
        with pytest.raises(UserError, match=r"has no option dropout; use .*approx"):
            self.build(dropout=0.1)

    @pytest.mark.parametrize(("option", "value"), [("approx", "tanh"), ("weight_scale", "row")])
    def test_an_unknown_name_is_refused_with_the_allowed_ones(self, option: str, value: str) -> None:
        with pytest.raises(UserError, match=f"{option} '{value}' is unknown; use"):
            self.build(**{option: value})

    @pytest.mark.parametrize("classes", [0, -1, 2.5, True])
    def test_a_wrong_number_of_classes_is_refused(self, classes: Any) -> None:
        with pytest.raises(UserError, match="num_classes"):
            build_model(self.name, num_classes=classes, **model_named(self.name).image_options(*self.image))


class ConvolutionalContract(OwnModelContract):
    """What the networks with stages must do besides."""

    options: ClassVar[dict[str, Any]] = {"width": 0.25}
    image = (3, 32)
    modules: int  # in `feature`

    def test_grey_images_are_taken_where_asked_for(self) -> None:
        assert self.build(in_channels=1)(self.images()[:, :1]).shape == (BATCH, CLASSES)

    @pytest.mark.parametrize(
        ("width", "stem"), [(0.01, 8), (0.25, 8), (0.37, 8), (0.375, 16), (0.5, 16), (1.0, 32), (1.5, 48)]
    )
    def test_width_rounds_the_stem_to_eight_and_doubles_from_there(self, width: float, stem: int) -> None:
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in self.build(width=width).named_parameters()}
        assert shapes["feature.0.conv1.weight"][0] == stem
        assert shapes["fc.0.weight"] == (CLASSES, 32 * stem)

    @pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf"), "1"])
    def test_a_width_that_is_no_positive_number_is_refused(self, width: Any) -> None:
        with pytest.raises(UserError, match="width"):
            self.build(width=width)

    def test_only_sizes_whose_shortcuts_fit_are_allowed(self) -> None:
        """Along 160 sizes, against the stages' own arithmetic: a strided convolution rounds up, an average down."""

        def fits(size: int) -> bool:
            side = (size + 1) // 2
            for _ in range(4):
                if side % 2 or side == 0:
                    return False
                side //= 2
            return True

        for size in range(1, 161):
            if fits(size):
                check_image_size(self.name, size)
            else:
                with pytest.raises(UserError, match=rf"{size}x{size}.*multiple of 32 or one less"):
                    check_image_size(self.name, size)

    @pytest.mark.parametrize("size", [31, 64])
    def test_an_allowed_size_passes_through(self, size: int) -> None:
        assert self.build()(torch.randn(2, 3, size, size)).shape == (2, CLASSES)

    def test_a_size_that_would_broadcast_is_refused_by_the_network_too(self) -> None:
        with pytest.raises(UserError, match="48x48"):
            self.build()(torch.randn(2, 3, 48, 48))

    def test_frozen_modules_take_no_gradient_and_keep_their_statistics(self) -> None:
        model = self.build(freeze_num=3)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.eval()
        model.train()
        self.backward(model, self.images())
        frozen = ("feature.0.", "feature.1.", "feature.2.")
        for name, parameter in model.named_parameters():
            assert (parameter.grad is None) == name.startswith(frozen), name
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                assert torch.equal(buffer, before[name]) == name.startswith(frozen), name
        assert frozen_modules(model) == list(model.get_submodule("feature").children())[:3]

    def test_frozen_binary_layers_are_those_of_the_frozen_modules(self) -> None:
        model = self.build(freeze_num=2)
        names = ("binary_3x3", "binary_pw_down1", "binary_pw_down2")
        assert frozen_binary_layers(model) == {f"feature.1.{name}" for name in names}

    def test_packed_frozen_layers_without_consumer_leave_the_rest_trainable(self) -> None:
        model = self.build(freeze_num=4)
        received = {name: GradientReceiver() for name, _ in binary_layers(model)}
        for name, layer in binary_layers(model):
            store = layer.pack()
            if name not in frozen_binary_layers(model):
                store.consumer = received[name]
        self.backward(model, self.images())
        assert {name for name in received if not received[name].finished} == frozen_binary_layers(model)

    def test_frozen_batch_norm_stays_frozen_when_another_kind_takes_its_place(self) -> None:
        model = self.build(freeze_num=1)
        stem = model.get_submodule("feature.0")
        stem.bn1 = nn.SyncBatchNorm.convert_sync_batchnorm(stem.bn1)
        model.train()
        assert not stem.bn1.training

    def test_all_of_feature_may_be_frozen_and_no_more(self) -> None:
        with torch.device("meta"):
            assert len(frozen_modules(self.build(freeze_num=self.modules))) == self.modules
            with pytest.raises(UserError, match=rf"freeze_num {self.modules + 1} exceeds.*0 to {self.modules}"):
                self.build(freeze_num=self.modules + 1)

    def test_a_negative_number_of_frozen_modules_is_refused(self) -> None:
        with pytest.raises(UserError, match="freeze_num -1"):
            self.build(freeze_num=-1)


class TestAdamBNN(ConvolutionalContract):
    name = "AdamBNN"
    modules = 14


class TestBCDNet(ConvolutionalContract):
    name = "BCDNet"
    modules = 11


class ResNetContract(OwnModelContract):
    name = "ResNet18"


class TestResNet18(ResNetContract):
    options: ClassVar[dict[str, Any]] = {"width": 0.25}
    image = (3, 48)

    @pytest.mark.parametrize("size", [1, 7, 33])
    def test_it_takes_images_of_any_size(self, size: int) -> None:
        check_image_size("ResNet18", size)
        assert self.build().eval()(torch.randn(1, 3, size, size)).shape == (1, CLASSES)

    @pytest.mark.parametrize(("width", "channels"), [(0.01, 8), (0.25, 16), (0.37, 24), (1.0, 64), (1.5, 96)])
    def test_width_rounds_the_first_stage_to_eight_and_doubles_from_there(self, width: float, channels: int) -> None:
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in self.build(width=width).named_parameters()}
        assert shapes["stem.conv0.weight"][0] == channels
        assert shapes["fc.weight"] == (CLASSES, 8 * channels)

    def test_the_published_network_has_11161600_binary_weights(self) -> None:
        with torch.device("meta"):
            model = build_model("ResNet18", 1000)
        assert sum(layer.store.shape.numel() for _, layer in binary_layers(model)) == 11_161_600
        assert len(list(binary_layers(model))) == 20

    @pytest.mark.parametrize(("option", "choices"), [("stem", "imagenet or cifar"), ("first_stage", "binary or real")])
    def test_a_variant_that_there_is_not_is_refused(self, option: str, choices: str) -> None:
        with pytest.raises(UserError, match=f"{option} 'other' is unknown; use {choices}"):
            self.build(**{option: "other"})


class TestResNet18OfSmallImages(ResNetContract):
    options: ClassVar[dict[str, Any]] = {"width": 0.25, "stem": "cifar"}
    image = (3, 16)


class TestResNet18WithRealFirstStage(ResNetContract):
    options: ClassVar[dict[str, Any]] = {"width": 0.25, "first_stage": "real"}
    image = (3, 48)


class TestMLP(OwnModelContract):
    name = "MLP"
    options: ClassVar[dict[str, Any]] = {"hid_dim": 40, "depth": 3}
    image = (3, 4)

    def test_it_has_no_real_parameter(self) -> None:
        model = self.build()
        assert {name for name, _ in model.named_parameters()} == {f"{name}.weight" for name, _ in binary_layers(model)}

    @pytest.mark.parametrize("depth", [1, 2, 5])
    def test_depth_counts_the_binary_layers(self, depth: int) -> None:
        model = self.build(depth=depth)
        assert len(list(binary_layers(model))) == depth
        assert model(self.images()).shape == (BATCH, CLASSES)

    def test_it_takes_images_of_any_size(self) -> None:
        check_image_size("MLP", 1)
        check_image_size("MLP", 29)

    def test_it_must_be_told_how_many_features_an_image_has(self) -> None:
        with pytest.raises(UserError, match="in_features"):
            build_model("MLP", num_classes=CLASSES)

    @pytest.mark.parametrize("option", ["in_features", "hid_dim", "depth"])
    def test_its_sizes_are_at_least_one(self, option: str) -> None:
        with pytest.raises(UserError, match=f"{option} 0"):
            self.build(**{option: 0})


class TestRealHeadMLP(OwnModelContract):
    name = "RealHeadMLP"
    options: ClassVar[dict[str, Any]] = {"hid_dim": 40, "depth": 2}
    image = (3, 4)

    def test_its_head_alone_is_real(self) -> None:
        model = self.build()
        binary = {f"{name}.weight" for name, _ in binary_layers(model)}
        assert {name for name, _ in model.named_parameters()} - binary == {"fc.weight", "fc.bias"}

    @pytest.mark.parametrize("depth", [1, 2, 5])
    def test_depth_counts_the_binary_layers(self, depth: int) -> None:
        assert len(list(binary_layers(self.build(depth=depth)))) == depth


def test_an_unknown_model_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(UserError, match="model 'ResNet' is unknown; use AdamBNN, BCDNet, MLP"):
        build_model("ResNet", num_classes=2)
    with pytest.raises(UserError, match="model 'ResNet' is unknown"):
        check_image_size("ResNet", 32)


@pytest.mark.parametrize("size", [0, -32, 32.0, True])
def test_an_image_size_that_is_no_positive_whole_number_is_refused(size: Any) -> None:
    with pytest.raises(UserError, match="image_size"):
        check_image_size("MLP", size)
