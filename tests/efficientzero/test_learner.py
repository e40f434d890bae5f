"""A learner learns; its copies and its learning rate follow their schedules."""

import pytest
import torch

from ezcli.efficientzero.components import rules_for
from ezcli.efficientzero.learner import (
    STEP_METRICS,
    Learner,
    learning_rate,
    make_optimiser,
)
from ezcli.efficientzero.network_copies import NetworkCopies, frozen
from ezcli.efficientzero.support import to_categorical, to_scalar
from tests.efficientzero.helpers import make_network, opinionated, random_batch, tiny


def make_learner(config, network=None):
    network = make_network(config) if network is None else network
    return Learner(network, config, rules_for(config), "float32")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), [("sgd", 0.1), ("adam", 0.01)])
def test_one_batch_can_be_learnt_by_heart(name, rate):
    config = tiny(
        "network.channels=8",
        "network.head_hidden=32",
        "loss.batch_size=8",
        "loss.unroll_steps=2",
        "optimiser.warmup_fraction=0.0",
        "optimiser.decayed_train_steps=0",
        "optimiser.weight_decay=0.0",
        f"optimiser.name={name}",
        f"optimiser.learning_rate={rate}",
    )
    learner, batch = make_learner(config), random_batch(config)
    first = learner.step(batch)
    for _ in range(60):
        last = learner.step(batch)
    one, other = (dict(zip(STEP_METRICS, r.metrics.tolist(), strict=True)) for r in (first, last))
    least = {
        "value_prefix": entropy(batch.value_prefix),
        "policy": 0,
        "value": entropy(batch.value),
    }
    for loss, floor in least.items():
        assert other[loss] >= floor
        assert other[loss] - floor < 0.1 * (one[loss] - floor)
    assert other["consistency"] < -0.5 * config.loss.unroll_steps  # its least is -1 a step
    assert last.errors.mean() < 0.4 * first.errors.mean()
    assert learner.train_steps == 61


def entropy(scalars):
    """Of their distributions on two atoms, summed over positions: no cross-entropy is lower."""
    distribution = to_categorical(scalars, 5)
    return -torch.xlogy(distribution, distribution).sum((1, 2)).mean().item()


def test_metrics_are_the_total_the_four_losses_and_the_norm():
    config = tiny()
    batch = random_batch(config)
    step = make_learner(config).step(batch)
    found = dict(zip(STEP_METRICS, step.metrics.tolist(), strict=True))
    log3, log11 = torch.tensor(3.0).log().item(), torch.tensor(11.0).log().item()
    assert found["policy"] == pytest.approx(6 * log3, rel=1e-5)  # the first output is uniform
    assert found["value"] == pytest.approx(6 * log11, rel=1e-5)
    assert found["value_prefix"] == pytest.approx(5 * log11, rel=1e-5)
    assert -5 <= found["consistency"] <= 5
    assert found["gradient_norm"] > 0
    torch.testing.assert_close(step.errors, batch.value[:, 0].abs(), rtol=0, atol=1e-5)


def test_a_step_is_sgd_with_a_clipped_gradient():
    config = tiny(
        "optimiser.max_gradient_norm=0.5",
        "optimiser.warmup_fraction=0.0",
        "optimiser.decayed_train_steps=0",
    )
    network = opinionated(config)
    learner, batch = make_learner(config, network), random_batch(config)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    norm = learner.step(batch).metrics[STEP_METRICS.index("gradient_norm")].item()
    assert norm > 0.5
    clipped = [p.grad for p in network.parameters()]
    assert torch.stack([g.norm() for g in clipped]).norm().item() == pytest.approx(0.5, rel=1e-3)
    for name, parameter in network.named_parameters():
        expected = before[name] - 0.2 * (parameter.grad + 1e-4 * before[name])
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-6)


def test_momentum_carries_over_to_the_next_step():
    config = tiny("optimiser.warmup_fraction=0.0", "optimiser.weight_decay=0.0")
    learner, batch = make_learner(config), random_batch(config)
    bias = learner.network.prediction.policy[-1].bias
    learner.step(batch)
    first, before = bias.grad.clone(), bias.detach().clone()
    learner.step(batch)
    rate = learning_rate(1, config)
    torch.testing.assert_close(bias.detach(), before - rate * (bias.grad + 0.9 * first))


def test_the_same_steps_give_the_same_weights():
    config = tiny()
    one, other = (make_learner(config) for _ in range(2))
    for seed in range(3):
        for learner in (one, other):
            learner.step(random_batch(config, seed=seed))
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_learning_uses_training_mode():
    config = tiny()
    learner = make_learner(config, make_network(config).eval())
    learner.step(random_batch(config))
    assert learner.network.training
    assert learner.network.representation[1].num_batches_tracked > 0


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("wrong", ["value", "observations"])
def test_from_a_step_that_is_not_finite_on_no_weight_changes(name, wrong):
    config = tiny(f"optimiser.name={name}", "optimiser.warmup_fraction=0.0")
    learner, batch = make_learner(config), random_batch(config)
    learner.step(batch)
    before = {key: p.detach().clone() for key, p in learner.network.named_parameters()}
    poisoned = getattr(batch, wrong).clone()
    poisoned[0, 1] = float("nan")
    found = learner.step(batch._replace(**{wrong: poisoned})).metrics
    assert not found.isfinite().all()
    learner.step(batch)  # a good one: the run has not noticed yet
    for key, parameter in learner.network.named_parameters():
        assert torch.equal(parameter, before[key])


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_everything_of_a_weight_lies_in_memory_as_the_weight_does(name):
    """A fused optimiser reads weight, gradient and its own state side by side."""
    config = tiny(f"optimiser.name={name}", "network.downsamplings=3")
    learner = make_learner(config)
    assert any(p.stride() != p.contiguous().stride() for p in learner.network.parameters())
    learner.step(random_batch(config))
    for weight in learner.network.parameters():
        state = learner.optimiser.state[weight].values()
        beside = [weight.grad, *(x for x in state if x.shape == weight.shape)]
        assert len(beside) > 1
        assert all(tensor.stride() == weight.stride() for tensor in beside)


def schedule_of(**values):
    """Of 100 train_steps: 10 of warm-up, the last 20 at a tenth of the rate."""
    return tiny(
        "schedule.final_train_steps=70",
        "optimiser.warmup_fraction=0.1",
        "optimiser.decayed_train_steps=20",
        "optimiser.learning_rate=0.2",
        "optimiser.decay_factor=0.1",
        *(f"optimiser.{name}={value}" for name, value in values.items()),
    )


@pytest.mark.parametrize(
    ("train_step", "rate"),
    [(0, 0.0), (1, 0.02), (5, 0.1), (9, 0.18), (10, 0.2), (79, 0.2), (80, 0.02), (99, 0.02)],
)
def test_the_learning_rate_warms_up_stays_and_falls(train_step, rate):
    settings = schedule_of()
    assert settings.schedule.train_steps == 100
    assert learning_rate(train_step, settings) == pytest.approx(rate)


def test_no_warm_up_and_no_decay_leave_the_rate_constant():
    settings = schedule_of(warmup_fraction=0.0, decayed_train_steps=0)
    assert {learning_rate(step, settings) for step in range(100)} == {0.2}


def test_the_optimiser_takes_the_rate_of_its_train_step():
    learner = make_learner(schedule_of())
    batch = random_batch(learner.settings)
    for step in range(3):
        learner.step(batch)
        assert learner.optimiser.param_groups[0]["lr"] == learning_rate(step, learner.settings)


def test_the_optimiser_is_the_one_named():
    network = make_network(tiny())
    sgd = make_optimiser(network, tiny().optimiser)
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.9
    assert sgd.defaults["weight_decay"] == 1e-4
    assert not sgd.defaults["nesterov"]
    adam = make_optimiser(network, tiny("optimiser.name=adam").optimiser)
    assert isinstance(adam, torch.optim.Adam)
    assert adam.defaults["betas"] == (0.9, 0.999)
    assert adam.defaults["weight_decay"] == 1e-4


def test_a_frozen_copy_is_apart_from_the_learner():
    network = opinionated(tiny()).train()
    copy = frozen(network)
    assert not copy.training
    assert network.training
    assert not any(p.requires_grad for p in copy.parameters())
    with torch.no_grad():
        network.representation[0].weight.add_(1)
    assert not torch.equal(copy.representation[0].weight, network.representation[0].weight)


class FakeLearner:
    """Counts train_steps, and writes the count into a weight and a running statistic."""

    def __init__(self, config):
        self.network, self.train_steps = make_network(config), 0
        self.mark(0)

    def mark(self, step):
        self.train_steps = step
        with torch.no_grad():
            self.network.representation[0].weight.fill_(step)
            self.network.representation[1].running_mean.fill_(step)


class FakeSearcher:
    """Knows how old the network is that it was given."""

    def __init__(self, network):
        self.take(network)

    def take(self, network):
        self.age = age_mark(network)


def age_mark(network):
    """The train_step that a copy was taken at."""
    marks = {network.representation[0].weight[0, 0, 0, 0].item()}
    marks.add(network.representation[1].running_mean[0].item())
    assert len(marks) == 1
    return marks.pop()


def test_copies_follow_their_schedules_at_every_train_step():
    """Batches are drawn, and targets begun, one group before they are learnt from."""
    ahead, acting, target = 5, 10, 20
    config = tiny(
        f"schedule.acting_update_interval={acting}", f"schedule.target_update_interval={target}"
    )
    learner = FakeLearner(config)
    copies = NetworkCopies(learner.network, config, FakeSearcher)
    for drawn in range(0, 200, ahead):  # first train_step of the group whose targets are made
        copies.before_targets(drawn)
        for train_step in range(drawn, drawn + ahead):
            # Taken at the start of the period before; the first two periods use the first weights.
            expected = max(0, train_step // target * target - target)
            assert copies.target.age == expected
            assert copies.target_version(train_step) == train_step // target
        # While the groups' targets are made, the group before is learnt.
        assert copies.target.age == max(0, drawn // target * target - target)
        learner.mark(drawn)
        copies.after_learning(learner)
        assert copies.acting.age == drawn // acting * acting


def test_the_values_of_a_learnt_batch_are_read_from_the_first_position():
    config = tiny("optimiser.warmup_fraction=0.0")
    learner, batch = make_learner(config, opinionated(config)), random_batch(config)
    learner.network.train()
    with torch.no_grad():
        expected = to_scalar(frozen_training(learner.network, batch.observations[:, 0]))
    errors = learner.step(batch).errors
    torch.testing.assert_close(errors, (expected - batch.value[:, 0]).abs(), rtol=1e-3, atol=1e-3)


def frozen_training(network, observations):
    """Value logits in training mode, from a copy, so that no running statistic moves."""
    return frozen(network).train().initial_inference(observations).value
