"""The losses of GANMEX (Shih, Tien, Karnin, ICML 2021), as they are written.

    L_D = E[D(G(x, c))] - E[D(x)] + 10 E[(|grad D(x^)|_2 - 1)^2]          (+ CE(D_class(x), y) without the swap)
    L_G = - a E[D(G(x, c))] + b CE(S(G(x, c)), c) + r E|x - G(G(x, c), y)| + s E|x - G(x, c)|

S is the explained classifier, frozen; x^ lies between x and G(x, c); E| | are means per element; x is in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

PENALTY = 10.0


class Weights(NamedTuple):
    """a, b, r and s of L_G."""

    adversarial: float = 1.0
    classification: float = 10.0
    reconstruction: float = 10.0
    similarity: float = 20.0


class Terms(NamedTuple):
    """The terms of L_G, 0-d tensors, unweighted."""

    adversarial: Tensor
    classification: Tensor
    reconstruction: Tensor
    similarity: Tensor

    def total(self, weights: Weights) -> Tensor:
        """L_G."""
        return sum((w * term for w, term in zip(weights, self, strict=True) if w), self[0].new_zeros(()))


def gradient_penalty(critic: nn.Module, x: Tensor, sample: Tensor, position: Tensor) -> Tensor:
    """E[(|grad D(x^)|_2 - 1)^2] at x^ = position x + (1 - position) sample, ``position`` (B,) in [0, 1]."""
    share = position.reshape(-1, *[1] * (x.dim() - 1))
    between = (share * x + (1 - share) * sample).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm = (slope.flatten(1).square().sum(1) + 1e-10).sqrt()  # the root has no gradient at zero
    return (norm - 1).square().mean()


def critic_loss(critic: nn.Module, x: Tensor, sample: Tensor, position: Tensor) -> Tensor:
    """L_D, without a class term: the frozen classifier has no part in it."""
    return critic(sample).mean() - critic(x).mean() + PENALTY * gradient_penalty(critic, x, sample, position)


def class_loss(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of (B, K) log probabilities with ``target`` (B,)."""
    return functional.nll_loss(log_probabilities.float(), target)


def generator_terms(
    generator: nn.Module,
    critic: nn.Module,
    classify: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    target: Tensor,
    weights: Weights,
) -> Terms:
    """The terms of L_G; those of weight zero are not computed. ``classify`` gives (B, K) log probabilities."""
    sample = generator(x, target)
    none = sample.new_zeros(())
    return Terms(
        adversarial=-critic(sample).mean() if weights.adversarial else none,
        classification=class_loss(classify(sample), target) if weights.classification else none,
        reconstruction=(x - generator(sample, y)).abs().mean() if weights.reconstruction else none,
        similarity=(x - sample).abs().mean() if weights.similarity else none,
    )
