"""Putting rows in another order, with a gradient that is put back in order instead of added up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Reorder(torch.autograd.Function):
    """x[order], where `inverse` undoes `order`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return x[order]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return Reorder.apply(gradient, inverse, order), None, None
