"""Networks that differ in their weights alone as one network, whose every operation is of all of them at once."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.functional import conv2d, unfold
from torch.overrides import TorchFunctionMode

from detector.dropout import drawing, image_keys


class Stacked(nn.Module):
    """Networks of one kind as one in training: images (N * B, ...), each network's after those of the one before, ->
    logits (N * B, outputs). Every weight is a tensor of theirs along a new first dimension.

    way: a key of WAYS, how the convolutions of all are calculated; torch.vmap does the rest.
    """

    def __init__(self, models: Sequence[nn.Module], way: str = "one by one"):
        super().__init__()
        weights, self.state = stack_module_state(list(models))
        self.names, self.weights = list(weights), nn.ParameterList(weights.values())
        self.kind = (copy.deepcopy(models[0]).train(),)  # in a tuple, as its own weights are none of ours
        self.way = way

    def forward(self, images: Tensor) -> Tensor:
        """Every network sees its own pictures and drops by their keys."""

        def alone(weights: dict[str, Tensor], state: dict[str, Tensor], images: Tensor, keys: Tensor) -> Tensor:
            with drawing(keys), Convolving(self.way):
                return functional_call(self.kind[0], (weights, state), (images,))

        weights, kind = self.tensors(), images.device.type
        if torch.is_autocast_enabled(kind):
            # vmap takes some operations out of autocast's sight, so that all is cast here
            dtype = torch.get_autocast_dtype(kind)
            images, weights = images.to(dtype), {name: weight.to(dtype) for name, weight in weights.items()}
        pieces = (tensor.unflatten(0, (len(self.weights[0]), -1)) for tensor in (images, image_keys()))
        with torch.autocast(kind, enabled=False):
            return torch.vmap(alone)(weights, self.state, *pieces).flatten(0, 1)

    def tensors(self) -> dict[str, Tensor]:
        """The stacked weights by the names that each network has for them."""
        return dict(zip(self.names, self.weights, strict=True))


class Convolving(TorchFunctionMode):
    """Within it and torch.vmap, conv2d with stacked weights is done in one of WAYS."""

    def __init__(self, way: str):
        super().__init__()
        self.way = way

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is conv2d:
            return _Convolution.apply(self.way, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class _Convolution(torch.autograd.Function):
    """Only what vmap makes of it: it is nothing by itself, and its gradients are those of the operations in `vmap`."""

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, way: str, images: Tensor, weights: Tensor, biases: Any, *how: Any) -> Any:
        stacked = [
            tensor if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((images, weights, biases), in_dims[1:4], strict=True)
        ]
        return WAYS[way](*stacked, *how), 0


def _one_by_one(images: Tensor, weights: Tensor, biases: Tensor | None, *how: Any) -> Tensor:
    """A convolution a network, each as it would be alone: most kernels, and the best known."""
    each = [None] * len(weights) if biases is None else biases
    return torch.stack([conv2d(*one, *how) for one in zip(images, weights, each, strict=True)])


def _grouped(
    images: Tensor, weights: Tensor, biases: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """One convolution with a group for each network."""
    biases = None if biases is None else biases.flatten()
    side_by_side = images.transpose(0, 1).flatten(1, 2)
    maps = conv2d(side_by_side, weights.flatten(0, 1), biases, stride, padding, dilation, groups * len(weights))
    return maps.unflatten(1, (len(weights), -1)).transpose(0, 1)


def _products(
    images: Tensor, weights: Tensor, biases: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """A matrix product a network, of its weights and all windows of its pictures: most memory, and simple kernels."""
    if groups != 1 or isinstance(padding, str):
        raise NotImplementedError("a convolution of several groups, or padded by a name, as matrix products")
    members, batch = images.shape[:2]
    windows = unfold(images.flatten(0, 1), weights.shape[3:], dilation, padding, stride)  # (N * B, K, places)
    windows = windows.unflatten(0, (members, batch)).transpose(1, 2).flatten(2)  # (N, K, B * places)
    maps = weights.flatten(2) @ windows
    if biases is not None:
        maps = maps + biases[:, :, None]
    height = (images.shape[3] + 2 * padding[0] - dilation[0] * (weights.shape[3] - 1) - 1) // stride[0] + 1
    return maps.unflatten(2, (batch, height, -1)).transpose(1, 2)


WAYS = {"one by one": _one_by_one, "grouped": _grouped, "products": _products}
