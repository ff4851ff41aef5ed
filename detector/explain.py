"""Where a network looks: Grad-CAM on its last feature map."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from detector.models.parts import GlobalAveragePool


def grad_cam(model: nn.Module, images: Tensor, *, output: int = 0, of_call: bool = False) -> Tensor:
    """Heat of each picture, float32 (B, H, W), at least 0, of `output`: by default evidence for FAKE.

    of_call: of what each picture is called instead, REAL where its logit is below 0.
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
    heat = (gradients.mean((2, 3), keepdim=True) * maps[0].detach()).sum(1, keepdim=True).relu()
    return interpolate(heat.float(), images.shape[2:], mode="bilinear").squeeze(1)


def last_map(model: nn.Module) -> nn.Module:
    """The module that is given the last feature map: global pooling, or flattening."""
    return [module for module in model.modules() if isinstance(module, GlobalAveragePool | nn.Flatten)][-1]
