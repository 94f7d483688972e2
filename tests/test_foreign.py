"""SRResNets that others have saved: the same picture as their own code makes, or a sentence that says what is wrong."""

import numpy as np
import pytest

import super_resolve
from common.errors import WeightsError
from common.foreign import SUFFIXES
from common.networks import network
from common.upscaler import Upscaler
from common.weights import Weights, initial_tensors, load_weights, save_weights, weights_for

torch = pytest.importorskip("torch")
nn = torch.nn
WIDTH = 6


class Residual(nn.Module):
    """A block of the layout block1 ... block8."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(WIDTH), nn.BatchNorm2d(WIDTH)
        self.prelu = nn.PReLU()

    def forward(self, x):
        return x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))


class Upsample(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.prelu = nn.Conv2d(WIDTH, 4 * WIDTH, 3, padding=1), nn.PReLU()

    def forward(self, x):
        return self.prelu(nn.functional.pixel_shuffle(self.conv(x), 2))


class Blocks(nn.Module):
    """The layout block1 ... block8, with two residual blocks in place of five."""

    def __init__(self):
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, WIDTH, 9, padding=4), nn.PReLU())
        self.block2, self.block3 = Residual(), Residual()
        self.block4 = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH))
        self.block5 = nn.Sequential(Upsample(), Upsample(), nn.Conv2d(WIDTH, 3, 9, padding=4))

    def forward(self, x):
        first = self.block1(x)
        return (torch.tanh(self.block5(first + self.block4(self.block3(self.block2(first))))) + 1) / 2


class Rcb(nn.Module):
    """A block of the layout with a trunk."""

    def __init__(self):
        super().__init__()
        conv, norm = (lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)), (lambda: nn.BatchNorm2d(WIDTH))
        self.rcb = nn.Sequential(conv(), norm(), nn.PReLU(), conv(), norm())

    def forward(self, x):
        return x + self.rcb(x)


class Doubling(nn.Module):
    def __init__(self):
        super().__init__()
        self.upsample_block = nn.Sequential(
            nn.Conv2d(WIDTH, 4 * WIDTH, 3, padding=1), nn.PixelShuffle(2), nn.PReLU(WIDTH)
        )

    def forward(self, x):
        return self.upsample_block(x)


class Trunk(nn.Module):
    """The layout conv_block1, trunk, conv_block2, upsampling, conv_block3."""

    def __init__(self):
        super().__init__()
        self.conv_block1 = nn.Sequential(nn.Conv2d(3, WIDTH, 9, padding=4), nn.PReLU())
        self.trunk = nn.Sequential(Rcb(), Rcb(), Rcb())
        self.conv_block2 = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH))
        self.upsampling = nn.Sequential(Doubling())
        self.conv_block3 = nn.Conv2d(WIDTH, 3, 9, padding=4)

    def forward(self, x):
        first = self.conv_block1(x)
        return self.conv_block3(self.upsampling(first + self.conv_block2(self.trunk(first))))


def trained(model):
    """`model` with weights and statistics that are not what they begin with."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                value.copy_(0.5 + torch.rand_like(value))
            elif "prelu" in name.lower() or value.ndim == 1:
                value.copy_(0.3 * torch.rand_like(value))
    return model.eval()


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(("layout", "scale", "blocks"), [(Blocks, 4, 2), (Trunk, 2, 3)])
def test_a_foreign_network_makes_the_same_picture(layout, scale, blocks, wrapped, tmp_path, make_pixels):
    model, path = trained(layout()), tmp_path / "net.pth"
    state = model.state_dict()
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": v for key, v in state.items()}} if wrapped else state, path)
    weights = weights_for("srgan" if wrapped else "srresnet", scale, path)
    assert (weights.network.blocks, weights.network.width, weights.network.scale) == (blocks, WIDTH, scale)
    low = make_pixels(20, 17).astype(np.float32) / 255
    with torch.no_grad():
        expected = model(torch.from_numpy(low).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    for framework in ("torch", "tensorflow"):
        ours = Upscaler(weights, framework, "cpu", "fp32").runtime(low[None])[0]
        assert np.abs(ours - expected).max() < 1e-5


def test_our_own_state_dictionary_is_read(tmp_path):
    spec = network("srresnet", scale=2, blocks=1, width=4)
    tensors = initial_tensors(spec, 0)
    torch.save({key: torch.from_numpy(value) for key, value in tensors.items()}, tmp_path / "ours.pt")
    weights = load_weights(tmp_path / "ours.pt")
    assert (weights.name, weights.network) == ("srresnet", spec)
    assert all(np.array_equal(weights.tensors[key], tensors[key]) for key in tensors)


def test_the_suffix_of_older_pytorch_is_known(tmp_path):
    torch.save({"epoch": 3, "best_psnr": 32.1, "state_dict": Trunk().state_dict()}, tmp_path / "SRResNet_x2.pth.tar")
    assert weights_for("srresnet", 2, tmp_path / "SRResNet_x2.pth.tar").network.blocks == 3


def refusal(path, name="srresnet", scale=4):
    with pytest.raises(WeightsError) as refused:
        weights_for(name, scale, path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_does_not_match_is_said(tmp_path):
    path = tmp_path / "net.pth"

    def refused(**changes):
        state = {**Blocks().state_dict(), **changes}
        torch.save({key: value for key, value in state.items() if value is not None}, path)
        return refusal(path)

    assert "lacks norm2.running_mean, which this SRResNet needs" in refused(**{"block4.1.running_mean": None})
    assert "holds head.weight, which no SRResNet that is known here has" in refused(**{"head.weight": torch.ones(3)})
    assert "conv2.weight in" in refused(**{"block4.0.weight": torch.ones(WIDTH, WIDTH, 1, 1)})
    assert "values that are not finite" in refused(**{"block2.bn1.weight": torch.full((WIDTH,), torch.nan)})
    torch.save(Trunk().state_dict(), path)
    assert "holds srresnet x2, not srresnet x4" in refusal(path)
    assert "not espcn x4" in refusal(path, "espcn")
    torch.save({}, path)
    assert "holds no SRResNet that enlarges by 2 or 4" in refusal(path)
    torch.save([torch.ones(2)], path)
    assert "holds no state dictionary" in refusal(path)


@pytest.mark.parametrize(("wrapper", "prefix"), [("netG", ""), ("g_state_dict", "_orig_mod."), (None, "generator.")])
def test_wrappings_are_taken_off(wrapper, prefix, tmp_path):
    state = {f"{prefix}{key}": nn.Parameter(value) for key, value in Trunk().state_dict().items() if value.ndim}
    torch.save({wrapper: state} if wrapper else state, tmp_path / "net.pth")
    assert weights_for("srresnet", 2, tmp_path / "net.pth").network.blocks == 3


@pytest.mark.parametrize(
    "odd",
    [
        {3: torch.ones(2)},
        {"conv1.weight": torch.ones(2, dtype=torch.complex64)},
        {"a": torch.ones(0, 3)},
        {"conv1.weight": torch.ones(2, 2).to_sparse()},
    ],
)
def test_odd_state_dictionaries_are_refused(odd, tmp_path):
    torch.save(odd, tmp_path / "net.pth")
    assert "which is no weight of an SRResNet" in refusal(tmp_path / "net.pth")


@pytest.mark.parametrize("claim", [torch.ones(1).expand(2**40), torch.ones(3).expand(2**10, 2**10, 3)])
def test_a_tensor_that_claims_more_numbers_than_the_file_holds(claim, tmp_path):
    torch.save({"conv1.weight": claim}, tmp_path / "net.pth")
    assert "more numbers than it holds" in refusal(tmp_path / "net.pth")


@pytest.mark.parametrize("number", ["9" * 5000, "99999"])
def test_a_block_of_an_absurd_number(number, tmp_path):
    torch.save({f"block{number}.conv1.weight": torch.ones(2)}, tmp_path / "net.pth")
    refusal(tmp_path / "net.pth")


def test_refusals_hold_neither_advice_on_pickles_nor_colours(tmp_path):
    torch.save({"state_dict": {}, "best_psnr": np.float64(3.0)}, tmp_path / "numpy.pth")
    torch.save(Trunk(), tmp_path / "whole.pth")
    torch.save(Trunk().state_dict(), tmp_path / "short.pth")
    (tmp_path / "short.pth").write_bytes((tmp_path / "short.pth").read_bytes()[:-100])
    for name in ("numpy", "whole", "short"):
        sentence = refusal(tmp_path / f"{name}.pth")
        assert sentence.endswith("is no PyTorch file of tensors alone, or is damaged.")


def test_nothing_but_tensors_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "text.pth").write_text("no pickle")
    assert "is no PyTorch file of tensors alone" in refusal(tmp_path / "trap.pth")
    assert "is no PyTorch file of tensors alone" in refusal(tmp_path / "text.pth")
    assert "does not exist" in refusal(tmp_path / "missing.pth")
    assert not (tmp_path / "sprung").exists()
    assert set(SUFFIXES) >= {".pth", ".pt"}


def test_ours_of_another_network_scale_or_width_are_refused(tmp_path):
    spec = network("srresnet", scale=2, blocks=1, width=4)
    path, tensors = tmp_path / "net.safetensors", initial_tensors(spec, 0)
    save_weights(path, Weights("srresnet", spec, tensors))
    assert "holds srresnet x2, not srresnet x4" in refusal(path)
    assert "holds srresnet x2, not srgan x2" in refusal(path, "srgan", 2)
    assert "holds srresnet x2, not espcn x2" in refusal(path, "espcn", 2)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 10])
    assert "is no whole safetensors file" in refusal(path)
    path.write_bytes(whole.replace(b'\\"width\\": 4', b'\\"width\\": 8'))
    assert "conv1.weight in" in refusal(path)


@pytest.mark.parametrize("kind", ["another network", "another scale", "cut short", "text", "text.pth"])
def test_the_command_ends_with_one_sentence(kind, tmp_path, capsys):
    spec = network("srresnet", scale=2, blocks=1, width=4)
    path = tmp_path / ("net.pth" if kind == "text.pth" else "net.safetensors")
    save_weights(path, Weights("srresnet", spec, initial_tensors(spec, 0)))
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:-5])
    elif kind.startswith("text"):
        path.write_text("no weights")
    wanted = ["--model", "srgan" if kind == "another network" else "srresnet"]
    wanted += ["--scale", "4" if kind == "another scale" else "2"]
    code = super_resolve.main([*wanted, "--weights", str(path), "--output", str(tmp_path / "out.png")])
    error = capsys.readouterr().err.splitlines()
    assert (code, len(error)) == (1, 1)
    assert error[0].startswith("Error: ") and str(path) in error[0]
