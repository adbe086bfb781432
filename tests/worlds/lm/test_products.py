import copy

import pytest
import torch
from torch import nn

from logpi.worlds.lm.products import OneDNNLinear, use_onednn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 512), (2, 3, 512)])
def test_it_is_the_same_layer(bias, shape):
    torch.manual_seed(0)
    plain = nn.Linear(512, 768, bias=bias)
    fast = nn.Sequential(copy.deepcopy(plain))
    use_onednn(fast)
    assert type(fast[0]) is OneDNNLinear
    x = torch.randn(shape)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    pushed = torch.randn(*shape[:-1], 768)
    for layer, given in zip((plain, fast[0]), inputs, strict=True):
        (layer(given) * pushed).sum().backward()
    torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)


def test_what_is_frozen_gets_no_gradient():
    layer = OneDNNLinear(512, 512).requires_grad_(False)
    x = torch.randn(3, 512, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


def test_float64_and_autocast_take_the_usual_way():
    layer = OneDNNLinear(512, 512)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(2, 512)).dtype == torch.bfloat16
    assert layer.double()(torch.randn(2, 512, dtype=torch.float64)).dtype == torch.float64


def test_small_layers_stay_as_they_are():
    model = nn.Sequential(nn.Linear(64, 64))
    use_onednn(model)
    assert type(model[0]) is nn.Linear
