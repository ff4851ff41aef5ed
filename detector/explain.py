"""Where a network looks: Grad-CAM, or HiResCAM, on its last feature map."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from detector.models.parts import GlobalAveragePool


def grad_cam(
    model: nn.Module, images: Tensor, *, output: int = 0, of_call: bool = False, by_place: bool = False
) -> Tensor:
    """Heat of each picture, float32 (B, H, W), at least 0, of `output`: by default evidence for FAKE.

    of_call: of what each picture is called instead, REAL where its logit is below 0.
    by_place: weighted by the gradient at each place instead of its mean over all (HiResCAM, Draelos and Carin 2020,
    arXiv:2011.08891). Where the map is pooled that is the same. Where it is flattened each place has weights of its
    own: only so do the heats, before they are cut off, sum to the logit but for the biases; with the mean the sum may
    have the other sign, and pictures full of evidence stay empty.
    images: float32 (B, C, H, W) as the network sees them, after the view; it is left in the mode it was in. The last
    feature map, which global pooling or flattening is given, weighted by the mean gradient of each channel, its
    negative parts cut off (Selvaraju et al. 2017, ICCV), enlarged to the picture's size. Not scaled: heats of one
    network compare.
    """
    maps: list[Tensor] = []
    hook = last_map(model).register_forward_pre_hook(lambda _, given: maps.append(given[0]))
    training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            logits = model(images.detach().requires_grad_())[:, output]
            evidence = logits.abs() if of_call else logits
            gradients = torch.autograd.grad(evidence.sum(), maps[0])[0]
    finally:
        hook.remove()
        model.train(training)
    weights = gradients if by_place else gradients.mean((2, 3), keepdim=True)
    heat = (weights * maps[0].detach()).sum(1, keepdim=True).relu()
    return interpolate(heat.float(), images.shape[2:], mode="bilinear").squeeze(1)


def last_map(model: nn.Module) -> nn.Module:
    """The module that is given the last feature map: global pooling, or flattening."""
    return [module for module in model.modules() if isinstance(module, GlobalAveragePool | nn.Flatten)][-1]
