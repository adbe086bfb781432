"""Policies in files: the same policy comes back, and acts alike wherever it runs."""

from __future__ import annotations

import importlib.util
import json
import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn
from torch.testing import assert_close

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.gym.export import Acting, load, save, save_onnx, save_torchscript
from logpi.worlds.gym.normalise import Normaliser
from logpi.worlds.gym.policy import GymPolicy

SEEN = spaces.Box(-3, 3, (4,))
BOX = spaces.Box(np.array([-2, -1], np.float32), np.array([2, 1], np.float32))
HALF = spaces.Box(np.array([-np.inf, -1], np.float32), np.array([2, np.inf], np.float32))
VARIANTS = {
    "discrete": (spaces.Discrete(3, start=5), {}),
    "multidiscrete": (spaces.MultiDiscrete([3, 2]), {"activation": "relu", "hidden": (8,)}),
    "multibinary": (spaces.MultiBinary((2, 2)), {}),
    "box": (BOX, {}),
    "half": (HALF, {"dtype": torch.float64}),
    "squashed": (BOX, {"std": "state", "squash": True}),
}
HAS_ONNX = all(importlib.util.find_spec(m) for m in ("onnx", "onnxscript", "onnxruntime"))


def trained(name, *, normalised=True):
    """A policy far from where it began, with statistics."""
    space, options = VARIANTS[name]
    normaliser = None
    if normalised:
        normaliser = Normaliser((4,), clip=3.0, dtype=options.get("dtype", torch.float32))
        normaliser.see(np.random.default_rng(0).normal(5, 2, (100, 4)))
        normaliser.adopt()
        normaliser.see(np.ones((5, 4)))
    policy = GymPolicy(SEEN, space, normaliser=normaliser, **options)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in policy.parameters():
            p += 0.5 * torch.randn(p.shape, generator=g)
    return policy


def observations(n=40):
    return np.random.default_rng(1).normal(5, 3, (n, 4)).astype(np.float32)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_saved_policy_comes_back_to_the_last_bit(name, tmp_path):
    policy = trained(name)
    again = load(save(policy, tmp_path / "model"))
    for (n, a), (m, b) in zip(policy.state_dict().items(), again.state_dict().items(), strict=True):
        assert n == m
        assert a.equal(b)
    x, u = observations(), np.random.default_rng(2).random((40, policy.actions.draws))
    for a, b in zip(policy.sampler()(x, None, u), again.sampler()(x, None, u), strict=True):
        assert np.array_equal(a, b)
    for row in x[:5]:
        assert np.array_equal(policy.act(row), again.act(row))
        assert policy.actions.kind == "discrete" or VARIANTS[name][0].contains(again.act(row))
    assert json.loads((tmp_path / "model" / "config.json").read_text())["format"] == 1


def test_what_was_loaded_is_frozen(tmp_path):
    again = load(save(trained("box"), tmp_path))
    before = again.act(observations()[0])
    again.normaliser.see(observations() + 100)
    again.normaliser.adopt()
    assert np.array_equal(again.act(observations()[0]), before)


@pytest.mark.parametrize("name", VARIANTS)
def test_torchscript_acts_as_the_policy(name, tmp_path):
    policy = trained(name)
    path = save_torchscript(policy, tmp_path / "policy.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch prefers torch.export
        script = torch.jit.load(str(path))
    x = observations(7)
    wanted = policy.to_env(policy.sampler().mode(x))
    found = script(torch.from_numpy(x)).numpy()
    assert found.shape == wanted.shape
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_images_go_with_it(tmp_path):
    seen = spaces.Box(0, 255, (36, 36, 1), dtype=np.uint8)
    policy = GymPolicy(seen, spaces.Discrete(4))
    x = np.random.default_rng(0).integers(0, 256, (3, 36, 36, 1)).astype(np.uint8)
    again = load(save(policy, tmp_path))
    assert np.array_equal(again.sampler().mode(x), policy.sampler().mode(x))
    save_torchscript(policy, tmp_path / "policy.pt")


def test_the_policy_itself_is_not_touched(tmp_path):
    policy = trained("box")
    save_torchscript(policy, tmp_path / "policy.pt")
    assert policy.training
    assert all(p.requires_grad for p in policy.parameters())
    x = torch.from_numpy(observations(3))
    assert_close(
        Acting(policy)(x).detach().numpy(), policy.to_env(policy.sampler().mode(x.numpy()))
    )


class Flipping(nn.Linear):
    """A net that a trace cannot hold: it depends on how many observations there are."""

    def forward(self, x):
        y = super().forward(x)
        return y if len(x) == 2 else -y


def test_a_net_that_cannot_be_written_is_found_out(tmp_path):
    policy = GymPolicy(SEEN, BOX, net=Flipping(4, 2))
    with pytest.raises(ModelError, match="does not act as the policy"):
        save_torchscript(policy, tmp_path / "policy.pt")


def test_a_net_of_ones_own_is_given_again(tmp_path):
    policy = GymPolicy(SEEN, BOX, net=nn.Linear(4, 2))
    save(policy, tmp_path)
    with pytest.raises(ConfigError, match="Give `net`"):
        load(tmp_path)
    again = load(tmp_path, net=nn.Linear(4, 2))
    x = observations()
    assert np.array_equal(again.sampler().mode(x), policy.sampler().mode(x))


def test_dictionaries_are_read_once_their_space_is_known(tmp_path):
    space = spaces.Dict(a=spaces.Discrete(3), b=spaces.Box(0, 1, (2,)))
    policy = GymPolicy(space, spaces.Discrete(2))
    shown = {"a": 2, "b": np.array([0.5, 1], np.float32)}
    again = load(save(policy, tmp_path), observation_space=space)
    assert again.act(shown) == policy.act(shown)
    assert load(tmp_path).act(np.array([0, 0, 1, 0.5, 1])) == policy.act(shown)


def test_what_is_no_policy_is_refused(tmp_path):
    with pytest.raises(ModelError, match="holds no policy"):
        load(tmp_path / "nowhere")
    save(trained("box"), tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**told, "format": 9}))
    with pytest.raises(ModelError, match="format 9"):
        load(tmp_path)
    file = tmp_path / "policy.safetensors"
    (tmp_path / "config.json").write_text(json.dumps(told))
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ModelError, match=r"could be read \(SafetensorError"):
        load(tmp_path)
    told["options"]["hidden"] = [3]
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="holds no policy"):
        load(tmp_path)


@pytest.mark.skipif(HAS_ONNX, reason="the packages that write ONNX are here")
def test_onnx_says_what_it_needs(tmp_path):
    with pytest.raises(ConfigError, match="pip install"):
        save_onnx(trained("box"), tmp_path / "policy.onnx")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="needs onnx, onnxscript and onnxruntime")
@pytest.mark.parametrize("name", VARIANTS)
def test_onnx_acts_as_the_policy(name, tmp_path, capfd):
    assert save_onnx(trained(name), tmp_path / "policy.onnx").exists()
    assert not capfd.readouterr().err  # of what the exporter could not find


WRITERS = [
    save_torchscript,
    pytest.param(save_onnx, marks=pytest.mark.skipif(not HAS_ONNX, reason="needs onnx")),
]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("space", [spaces.Discrete(5, start=2), spaces.MultiDiscrete([2, 4])])
def test_where_there_are_masks_they_are_a_second_input(space, write, tmp_path):
    policy = GymPolicy(spaces.Box(-1, 1, (3,)), space, seed=3)
    path = write(policy, tmp_path / "policy", masked=True)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 3)).astype(np.float32)
    first = np.array([True, False, True, False, False, True])[-policy.actions.choices :]
    for mask in (np.ones((9, len(first)), bool), np.tile(first, (9, 1))):
        if write is save_onnx:
            told = {"observation": x, "action_mask": mask}
            onnx = importlib.import_module("onnxruntime")
            (found,) = onnx.InferenceSession(str(path)).run(None, told)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                found = torch.jit.load(str(path))(*map(torch.from_numpy, (x, mask))).numpy()
        assert np.array_equal(found, policy.to_env(policy.sampler().mode(x, mask)))
