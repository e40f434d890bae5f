"""The auxiliary losses, which train latents beside rewards, values and policies (section 4.1).

Each compares the K unrolled latents with the observations at the same env_steps, through which no
gradient flows. `components.AUXILIARY` lists them. Shapes as in `batch`.
"""

from collections.abc import Callable
from concurrent.futures import Executor

import torch
import torch.nn.functional as F
from torch import Tensor

from ezcli.efficientzero import aside
from ezcli.efficientzero.batch import Batch
from ezcli.efficientzero.network import Network

TEMPERATURE = 0.1  # temperature of the similarities in `contrastive`

# From observations [n, C, H, W] to their target projections [n, projection].
Target = Callable[[Tensor], Tensor]
# (network, K unrolled latents [B, c, h, w], batch, target) -> [B, K]. Without `target`, the network
# computes the targets.
AuxiliaryLoss = Callable[[Network, list[Tensor], Batch, Target | None], Tensor]


def cosine_consistency(
    network: Network, latents: list[Tensor], batch: Batch, target: Target | None = None
) -> Tensor:
    """Negative cosine similarity [B, K] of predicted projections and target projections.

        l(i, k) = -cos(predict(project(s_k)), stop_gradient(target(o_(t+k)))),  k = 1..K

    With targets from the network itself this is SimSiam (Chen and He 2021). With targets from a
    moving average it is SPR's loss (Schwarzer et al. 2021). The network's batch-norms are in
    training mode on both branches.
    """
    # The branch with gradients comes first: autocast caches casts of weights, and a cast made
    # without gradients would cut off the projector in some releases of PyTorch (pytorch #112583).
    online = network.predict_projection(torch.stack(latents, 1).flatten(0, 1))
    similarity = F.cosine_similarity(
        online.float(), projections(network, batch, target).float(), dim=1
    )
    return -similarity.view(len(batch.actions), -1)


def authors_consistency(
    network: Network, latents: list[Tensor], batch: Batch, target: Target | None = None
) -> Tensor:
    """`cosine_consistency` as in the authors' code: one pass per step, through f as well.

    So each batch-norm receives B observations at a time, not K * B, and the running statistics of f
    include observed latents.
    """

    def own_target(observations: Tensor) -> Tensor:
        return network.project(network.initial_inference(observations).latent)

    found = []
    for step, latent in enumerate(latents):
        online = network.predict_projection(latent)
        with torch.no_grad():
            seen = batch.observations[:, step + 1].contiguous(memory_format=torch.channels_last)
            wanted = (target or own_target)(seen)
        found.append(-F.cosine_similarity(online.float(), wanted.float(), dim=1))
    return torch.stack(found, 1)


def contrastive(
    network: Network, latents: list[Tensor], batch: Batch, target: Target | None = None
) -> Tensor:
    """InfoNCE [B, K] (van den Oord et al. 2018): each latent finds its own observation.

        l(i, k) = -log(exp(c_ii / T) / sum_j exp(c_ij / T)),  c_ij = cos(x_i, y_j)

    x_i is the projection of latent k of window i, y_j that of observation k of window j. A latent
    of step k is compared with the observations of step k in all windows of the batch, by the cosine
    similarity of projections. Windows that have ended by step k are left out.
    """
    size, steps = batch.actions.shape
    online = network.project(torch.stack(latents, 1).flatten(0, 1))
    seen = projections(network, batch, target)
    online, seen = (
        F.normalize(x.float(), dim=1).view(size, steps, -1).transpose(0, 1) for x in (online, seen)
    )
    logits = online @ seen.transpose(1, 2) / TEMPERATURE  # [K, B, B]
    absent = batch.is_state[:, 1:].T.unsqueeze(1) == 0
    own = torch.eye(size, dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(absent & ~own, -torch.inf)
    return -logits.log_softmax(2).diagonal(dim1=1, dim2=2).T


def reconstruction(
    network: Network, latents: list[Tensor], batch: Batch, target: Target | None = None
) -> Tensor:
    """Squared error [B, K] of the decoded newest frame, mean over its pixels in [0, 1] or numbers.

        l(i, k) = mean_pixels (decode(s_k) - o_(t+k))^2

    The target is the frame before augmentation, because no latent can predict a random shift.
    """
    assert network.decoder is not None
    decoded = network.decoder(torch.stack(latents, 1).flatten(0, 1)).float()
    scale = 255 if batch.frames.dtype == torch.uint8 else 1
    frames = batch.frames[:, 1:, -decoded.shape[1] :].flatten(0, 1) / scale
    return (decoded - frames).square().mean((1, 2, 3)).view(len(batch.actions), -1)


def no_auxiliary(
    network: Network, latents: list[Tensor], batch: Batch, target: Target | None = None
) -> Tensor:
    """Zeros [B, K], and no forward pass: one would move the batch-norms."""
    return batch.observations.new_zeros(batch.actions.shape)


READ_TARGETS = (cosine_consistency, contrastive)  # in training mode, which ran only h


def begun(
    auxiliary: AuxiliaryLoss,
    network: Network,
    batch: Batch,
    target: Target | None,
    executor: Executor,
) -> Target | None:
    """Starts encoding the targets of a batch in another thread, if there is one.

    Must be called after h has encoded the roots, because its running statistics depend on the
    order.
    """
    if auxiliary not in READ_TARGETS:
        return target
    encode = network.representation if target is None else target
    encoded = aside.begin(lambda: without_gradient(encode, batch), executor)

    def own(observations: Tensor) -> Tensor:
        return network.project(encoded())

    def given(observations: Tensor) -> Tensor:
        return encoded()

    return own if target is None else given


@torch.no_grad()
def without_gradient(encode: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
    """Encodes the observations [B * K, C, H, W] at k = 1..K, without gradient."""
    seen = batch.observations[:, 1:].flatten(0, 1)
    return encode(seen.contiguous(memory_format=torch.channels_last))


def projections(network: Network, batch: Batch, target: Target | None) -> Tensor:
    """The target projections [B * K, projection] of the observations at k = 1..K."""

    def own(observations: Tensor) -> Tensor:
        return network.project(network.representation(observations))

    return without_gradient(target or own, batch)
