"""Each term of the loss by hand, what is masked, and where gradients go."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F

from ezcli.efficientzero.auxiliary import contrastive, cosine_consistency, no_auxiliary
from ezcli.efficientzero.batch import NetworkOutput, PrefixState
from ezcli.efficientzero.hyperparameters import LossSettings
from ezcli.efficientzero.loss import (
    LATENT_GRADIENTS,
    TERMS,
    coefficients,
    losses,
    objective,
    scale_gradient,
    total_loss,
    unroll,
    unroll_from,
    value_errors,
)
from ezcli.efficientzero.loss_terms import LOSSES
from ezcli.efficientzero.support import to_categorical, to_scalar
from ezcli.runs.compute import make_executor
from tests.efficientzero.helpers import make_network, opinionated, random_batch, tiny

B, K, A, ATOMS = 4, 3, 3, 11


@pytest.fixture
def config():
    return tiny(f"loss.batch_size={B}", f"loss.unroll_steps={K}")


@pytest.fixture
def batch(config):
    """Sample 1 ends after its first action, sample 2 after its second; the others go on."""
    batch = random_batch(config)
    batch.is_state[1] = torch.tensor([1, 1, 0, 0])
    batch.has_policy[1] = torch.tensor([1, 0, 0, 0])
    batch.is_state[2] = torch.tensor([1, 1, 1, 0])
    batch.has_policy[2] = torch.tensor([1, 1, 0, 0])
    return batch


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


@pytest.fixture
def outputs():
    torch.manual_seed(0)
    state = PrefixState(torch.zeros(B, 1), torch.zeros(B, 1))
    return [
        NetworkOutput(
            latent=leaf(B, 2, 2, 2),
            prefix_state=state,
            value_prefix=leaf(B, ATOMS) if k else None,
            value=leaf(B, ATOMS),
            policy=leaf(B, A),
        )
        for k in range(K + 1)
    ]


@pytest.fixture
def similarity():
    torch.manual_seed(1)
    return leaf(B, K)


@pytest.fixture
def found(batch, outputs, similarity):
    return losses(None, batch, outputs, lambda *_: similarity)


def cross_entropy(logits, target):
    """One position of one sample, from the definition."""
    exponentials = [torch.exp(x) for x in logits]
    total = sum(exponentials)
    return -sum(float(p) * torch.log(e / total) for p, e in zip(target, exponentials, strict=True))


def test_the_policy_loss_is_cross_entropy_where_there_is_a_policy(found, batch, outputs):
    for b in range(B):
        expected = sum(
            cross_entropy(outputs[k].policy[b], batch.policy[b, k])
            for k in range(K + 1)
            if batch.has_policy[b, k]
        )
        torch.testing.assert_close(found["policy"][b], expected)


def test_the_value_loss_is_cross_entropy_against_two_atoms(found, batch, outputs):
    for b in range(B):
        expected = sum(
            cross_entropy(outputs[k].value[b], to_categorical(batch.value[b, k], 5))
            for k in range(K + 1)
            if batch.is_state[b, k]
        )
        torch.testing.assert_close(found["value"][b], expected)


def test_the_prefix_loss_has_no_first_position(found, batch, outputs):
    for b in range(B):
        expected = sum(
            cross_entropy(
                outputs[k].value_prefix[b], to_categorical(batch.value_prefix[b, k - 1], 5)
            )
            for k in range(1, K + 1)
            if batch.is_state[b, k]
        )
        torch.testing.assert_close(found["value_prefix"][b], expected)


def test_the_consistency_loss_has_no_first_position(found, batch, similarity):
    expected = (similarity * batch.is_state[:, 1:]).sum(1)
    torch.testing.assert_close(found["consistency"], expected)


def test_masked_positions_get_no_gradient_and_the_others_do(found, batch, outputs, similarity):
    sum(loss.sum() for loss in found.values()).backward()

    def reached(tensor, b):
        return bool(tensor.grad[b].any())

    for b in range(B):
        for k in range(K + 1):
            assert reached(outputs[k].value, b) == bool(batch.is_state[b, k])
            assert reached(outputs[k].policy, b) == bool(batch.has_policy[b, k])
            if k:
                assert reached(outputs[k].value_prefix, b) == bool(batch.is_state[b, k])
    torch.testing.assert_close(similarity.grad, batch.is_state[:, 1:])


def test_targets_of_masked_positions_do_not_matter(batch, outputs, found):
    """Whatever stands in the targets and observations past the end, the losses are the same."""
    other = batch._replace(
        value=batch.value + 3 * (1 - batch.is_state),
        value_prefix=batch.value_prefix + 3 * (1 - batch.is_state[:, 1:]),
        policy=batch.policy + (1 - batch.has_policy).unsqueeze(-1),
    )
    assert not torch.equal(other.value, batch.value)
    again = losses(None, other, outputs, no_auxiliary)
    for name in ("value_prefix", "policy", "value"):
        assert torch.equal(again[name], found[name])


def test_every_loss_has_a_coefficient_of_its_own(config):
    fields = {name for name in LossSettings.model_fields if name.endswith("_coefficient")}
    assert {f"{name}_coefficient" for name in LOSSES} == fields
    assert TERMS.keys() == LOSSES.keys()
    for name in LOSSES:
        only = config.loss.model_copy(update={f"{name}_coefficient": 7.5})
        assert coefficients(only)[name] == 7.5


def test_coefficients_are_those_of_the_paper(config):
    expected = {"value_prefix": 1.0, "policy": 1.0, "value": 0.25, "consistency": 2.0}
    assert coefficients(config.loss) == expected


def test_the_total_weighs_samples_and_losses(config):
    torch.manual_seed(2)
    found = {name: torch.randn(B) for name in LOSSES}
    weights = torch.tensor([1.0, 0.5, 0.25, 0.0])
    total = 0.0
    for b in range(B):
        sample = found["value_prefix"][b] + found["policy"][b]
        sample = sample + 0.25 * found["value"][b] + 2.0 * found["consistency"][b]
        total += weights[b] * sample / B / K
    torch.testing.assert_close(total_loss(found, weights, config.loss), total)


def test_value_errors_are_of_the_first_position(batch, outputs):
    expected = (to_scalar(outputs[0].value) - batch.value[:, 0]).abs()
    errors = value_errors(outputs, batch)
    torch.testing.assert_close(errors, expected)
    assert not errors.requires_grad


# The unroll.


class Recorder:
    """A network of which every part can be followed by hand: latent and state are sums."""

    def __init__(self):
        self.states = []

    def initial_inference(self, observations):
        latent = observations.flatten(1).sum(1, keepdim=True)
        return self._output(latent, PrefixState(latent * 0, latent * 0), None)

    def recurrent_inference(self, latent, prefix_state, action, role):
        self.states.append(prefix_state.hidden.detach().clone())
        hidden = prefix_state.hidden + 1
        state = PrefixState(hidden, prefix_state.cell + 1)
        return self._output(latent + action.unsqueeze(1), state, hidden)

    def _output(self, latent, state, prefix):
        return NetworkOutput(latent, state, prefix, latent, latent)


def unroll_batch(network, batch, horizon):
    return unroll(network, batch.observations[:, 0], batch.actions, horizon)


@pytest.mark.parametrize(
    ("horizon", "expected"), [(1, [0, 0, 0, 0, 0]), (2, [0, 1, 0, 1, 0]), (5, [0, 1, 2, 3, 4])]
)
def test_the_prefix_state_restarts_every_horizon(horizon, expected):
    batch = random_batch(tiny("loss.unroll_steps=5"))
    network = Recorder()
    unroll_batch(network, batch, horizon)
    assert [state[0].item() for state in network.states] == expected


def test_a_longer_unroll_than_the_horizon_restarts_too():
    network = Recorder()
    unroll_batch(network, random_batch(tiny("loss.unroll_steps=7")), 3)
    assert [state[0].item() for state in network.states] == [0, 1, 2, 0, 1, 2, 0]


def test_the_unroll_follows_the_actions_from_the_first_observation(config):
    batch = random_batch(config)
    outputs = unroll_batch(Recorder(), batch, 5)
    assert len(outputs) == K + 1
    assert outputs[0].value_prefix is None
    for k, output in enumerate(outputs):
        expected = batch.observations[:, 0].flatten(1).sum(1) + batch.actions[:, :k].sum(1)
        torch.testing.assert_close(output.latent[:, 0], expected)


def test_the_gradient_into_the_latent_is_halved_at_each_step(config):
    """The k-th latent reaches the first observation through k - 1 halvings."""
    batch = random_batch(config)
    for k in range(K + 1):
        observations = batch.observations.clone().requires_grad_()
        outputs = unroll_batch(Recorder(), batch._replace(observations=observations), 5)
        outputs[k].latent.sum().backward()
        gradient = observations.grad[:, 0]
        torch.testing.assert_close(gradient, torch.full_like(gradient, 0.5 ** max(0, k - 1)))
        assert not observations.grad[:, 1:].any()


def test_all_that_reaches_a_latent_may_be_halved(config):
    """The k-th latent and its heads reach the first observation through k halvings."""
    batch = random_batch(config)
    for k in range(K + 1):
        observations = batch.observations.clone().requires_grad_()
        network, halve = Recorder(), LATENT_GRADIENTS["whole"]
        root = network.initial_inference(observations[:, 0])
        outputs = unroll_from(network, root, batch.actions, 5, halve)
        outputs[k].latent.sum().backward()
        gradient = observations.grad[:, 0]
        torch.testing.assert_close(gradient, torch.full_like(gradient, 0.5**k))


def test_heads_of_a_network_send_half_their_gradient_where_all_is_halved(config):
    batch, found = random_batch(config), {}
    for name in LATENT_GRADIENTS:
        network = opinionated(config)
        loss = config.loss.model_copy(update={"latent_gradient": name})
        made = objective(network, batch, 5, no_auxiliary, loss)
        made.outputs[1].value.sum().backward()
        found[name] = [weight.grad for weight in network.dynamics.convolution.parameters()]
        assert made.outputs[1].latent.requires_grad
    for all_of_it, half in zip(found["between-steps"], found["whole"], strict=True):
        assert all_of_it.abs().max() > 0
        torch.testing.assert_close(half, all_of_it / 2)


def test_scaling_a_gradient_leaves_the_value():
    x = torch.tensor([1.5, -2.25], requires_grad=True)
    y = scale_gradient(x, 0.25)
    assert torch.equal(y, x)
    (y * torch.tensor([1.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [0.25, 1.0]


# With a network.


def whole_loss(network, batch, config, consistency=cosine_consistency):
    outputs = unroll_batch(network, batch, config.search.prefix_horizon)
    return total_loss(losses(network, batch, outputs, consistency), batch.weights, config.loss)


def test_the_gradient_reaches_every_parameter(config):
    network = opinionated(config).train()
    whole_loss(network, random_batch(config), config).backward()
    for name, parameter in network.named_parameters():
        # Biases before a batch-norm are subtracted again: their gradient is rounding.
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        if not name.endswith("bias"):
            assert parameter.grad.any(), name


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_reaches_its_own_parts(config, name):
    network = opinionated(config).train()
    batch = random_batch(config)
    outputs = unroll_batch(network, batch, 5)
    losses(network, batch, outputs, cosine_consistency)[name].sum().backward()
    reached = {
        part
        for part, module in network.named_modules()
        if part.count(".") <= 1
        and any(p.grad is not None and p.grad.any() for p in module.parameters())
    }
    parts = {"projector", "predictor", "prediction.value", "prediction.policy"}
    own = {
        "value_prefix": {"dynamics.value_prefix", "dynamics.lstm"},
        "policy": {"prediction.policy"},
        "value": {"prediction.value"},
        "consistency": {"projector", "predictor"},
    }
    assert {"representation", "dynamics"} | own[name] <= reached
    assert not reached & (parts - own[name])


@pytest.mark.parametrize("auxiliary", [cosine_consistency, contrastive])
@pytest.mark.parametrize("who", ["at once", "a thread", "who asks"])
def test_encoding_beside_the_unroll_changes_no_bit(config, auxiliary, who):
    batch, found, held = random_batch(config), [], threading.Event()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with make_executor(1 if who == "at once" else 2) as executor:
        if who == "who asks":
            for _ in range(2):
                executor.submit(held.wait)
        for used in (None, executor):
            network = opinionated(config).train()
            horizon = config.search.prefix_horizon
            made = objective(network, batch, horizon, auxiliary, config.loss, None, used)
            made.total.backward()
            gradients = [w.grad for w in network.parameters() if w.grad is not None]
            found.append([made.total, *gradients, *network.state_dict().values()])
        held.set()
    torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_no_gradient_flows_through_the_consistency_target(config):
    network = make_network(config).train()
    batch = random_batch(config)
    latents = [leaf(B, *network.latent_shape) for _ in range(K)]
    frozen = copy.deepcopy(network)
    cosine_consistency(network, latents, batch).sum().backward()
    assert all(p.grad is None for p in network.representation.parameters())
    # The projector's gradient is that of the online branch alone, the target a constant.
    with torch.no_grad():
        seen = batch.observations[:, 1:].flatten(0, 1)
        target = frozen.project(frozen.representation(seen))
    online = frozen.predict_projection(torch.stack(latents, 1).flatten(0, 1).detach())
    (-F.cosine_similarity(online, target)).sum().backward()
    for one, other in zip(
        network.projector.parameters(), frozen.projector.parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad)


def test_consistency_compares_each_latent_with_its_own_observation(config):
    network = opinionated(config)  # evaluation mode: one state does not depend on another
    batch = random_batch(config)
    latents = [torch.randn(B, *network.latent_shape) for _ in range(K)]
    with torch.no_grad():
        found = cosine_consistency(network, latents, batch)
        assert found.shape == (B, K)
        for b in range(B):
            for k in range(K):
                online = network.predict_projection(latents[k][b : b + 1])[0]
                seen = network.representation(batch.observations[b : b + 1, k + 1])
                target = network.project(seen)[0]
                expected = -(online @ target) / online.norm() / target.norm()
                assert found[b, k].item() == pytest.approx(expected.item(), abs=1e-5)


def statistics(network, part):
    return {k: v.clone() for k, v in network.state_dict().items() if k.startswith(part)}


def test_no_consistency_leaves_the_running_statistics_alone(config):
    network = make_network(config).train()
    batch = random_batch(config)
    before = statistics(network, "")
    latents = [torch.randn(B, *network.latent_shape)] * K
    found = no_auxiliary(network, latents, batch)
    assert torch.equal(found, torch.zeros(B, K))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_without_consistency_the_projection_gets_no_gradient(config):
    network = opinionated(config).train()
    whole_loss(network, random_batch(config), config, no_auxiliary).backward()
    for part in (network.projector, network.predictor):
        assert all(parameter.grad is None for parameter in part.parameters())
