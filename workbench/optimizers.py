"""What moves the weights: Adam with its decay, LAMB, and an average of the weights that begins short."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Lamb(torch.optim.Optimizer):
    r"""Adam's direction, rescaled for every weight tensor so that a step is in proportion to the tensor's size.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    w <- w - lr (|w| / |u|) u                             with the ratio 1 where either norm is zero

    You et al., ICLR 2020 (arXiv:1904.00962), Algorithm 2, with φ the identity and no weight decay. PyPI's
    pytorch-optimizer leaves out the bias correction of m and v and caps |w| at 10, which is another method.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every weight that has a gradient."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = 0
                    state["mean"] = torch.zeros_like(weight)
                    state["square"] = torch.zeros_like(weight)
                state["step"] += 1
                mean, square, t = state["mean"], state["square"], state["step"]
                mean.lerp_(weight.grad, 1 - b1)
                square.mul_(b2).addcmul_(weight.grad, weight.grad, value=1 - b2)
                update = (mean / (1 - b1**t)) / ((square / (1 - b2**t)).sqrt_().add_(group["eps"]))
                size, length = weight.norm(), update.norm()
                ratio = torch.where((size > 0) & (length > 0), size / length, 1.0)
                weight.sub_(update.mul_(ratio * group["lr"]))
        return value


def adam(model: nn.Module, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam; with a weight decay, the decoupled one of AdamW: every step takes w <- (1 - lr * weight_decay) w.

    Matrices decay (the `weight` of a layer, with two axes or more). Biases, norms, learned scales and embeddings do
    not, nor do tables with a row for every element: a row whose element no frame of a step has would fade away.

    Loshchilov, Hutter, ICLR 2019 (arXiv:1711.05101), Algorithm 2.
    """
    weights = list(model.parameters())
    if not weight_decay:  # one group, as in the states of older runs
        return torch.optim.Adam(weights, fused=True)
    decaying = [
        weight
        for module in model.modules()
        if not isinstance(module, nn.Embedding)
        for name, weight in module.named_parameters(recurse=False)
        if name == "weight" and weight.ndim > 1
    ]
    chosen = set(map(id, decaying))
    others = [weight for weight in weights if id(weight) not in chosen]
    groups: list[dict[str, Any]] = [{"params": decaying, "weight_decay": weight_decay}, {"params": others}]
    return torch.optim.Adam(groups, fused=True, decoupled_weight_decay=True)


def average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential average of the weights that begins short, so that a short training is averaged too:
    after n steps the decay is min(decay, (1 + n) / (10 + n))."""

    def mix(averages: Sequence[Tensor], weights: Sequence[Tensor], n: Tensor | int) -> None:
        torch._foreach_lerp_(list(averages), list(weights), 1 - min(decay, (1 + int(n)) / (10 + int(n))))

    average = AveragedModel(model, multi_avg_fn=torch.no_grad()(mix))
    return average.requires_grad_(False)
