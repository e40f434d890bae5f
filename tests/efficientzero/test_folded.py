"""A folded network computes the same as the network."""

import pytest
import torch

from ezcli.efficientzero.folded import FoldedDynamics, fold, join
from ezcli.efficientzero.inference import to_network_input
from ezcli.efficientzero.searcher import Searcher
from tests.efficientzero.helpers import opinionated, random_images, tiny


def learnt(network, seed=0):
    """The network with statistics of batch-norms as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
    return network.eval()


def answers(network, dtype=torch.float32, count=4, num_actions=3):
    """What the network says of some states and of what follows them."""
    with torch.inference_mode():
        root = network.initial_inference(to_network_input(random_images(count)).to(dtype))
        actions = torch.arange(count) % num_actions
        child = network.recurrent_inference(root.latent, root.prefix_state, actions)
        later = network.recurrent_inference(child.latent, child.prefix_state, actions.flip(0))
    return [
        tensor
        for output in (root, child, later)
        for tensor in (output.latent, output.value, output.policy, output.value_prefix)
        if tensor is not None
    ]


@pytest.mark.parametrize("encoding", ["one-hot", "scalar"])
@pytest.mark.parametrize("scaling", ["true", "false"])
@pytest.mark.parametrize("embedding", [0, 6])
def test_it_says_the_same(encoding, scaling, embedding):
    config = tiny(
        f"network.action_encoding={encoding}",
        f"network.latent_scaling={scaling}",
        f"network.action_embedding={embedding}",
        "network.head_activation=elu",
    )
    network = learnt(opinionated(config))
    expected, found = answers(network), answers(fold(network, "float32"))
    assert len(found) == 11
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_nothing_is_left_to_normalise_but_the_state_of_the_lstm():
    folded = fold(opinionated(tiny()), "float32")
    norms = [
        name
        for name, module in folded.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d)
    ]
    assert norms == ["dynamics.lstm_norm"]
    assert isinstance(folded.dynamics, FoldedDynamics)
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_the_network_is_left_as_it_was():
    network = learnt(opinionated(tiny())).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    fold(network, "bfloat16")
    assert network.training
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_bfloat16_is_near():
    network = learnt(opinionated(tiny()))
    folded = fold(network, "bfloat16")
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.bfloat16}
    for one, other in zip(answers(network), answers(folded, torch.bfloat16), strict=True):
        torch.testing.assert_close(other.float(), one, rtol=0.1, atol=0.1 * one.abs().max().item())


def test_a_searcher_takes_other_weights_in_place():
    first, second = (learnt(opinionated(tiny(), seed=seed), seed) for seed in (0, 1))
    searcher = Searcher(first, "float32", "cpu")
    addresses = [parameter.data_ptr() for parameter in searcher.network.parameters()]
    searcher.take(second)
    assert [parameter.data_ptr() for parameter in searcher.network.parameters()] == addresses
    for one, other in zip(answers(second), answers(searcher.network), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_joined_is_an_error():
    pair = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm1d(3))
    with pytest.raises(TypeError, match="BatchNorm1d after ReLU"):
        join(pair, "0", "1")
