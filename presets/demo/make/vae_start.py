"""A head start for the VAE: weights with which it already blurs a picture down and up again.

From a random start, the small VAE spends thousands of steps finding out that latents are best a small copy
of the picture. So we begin there: channels 0-2 carry the colours through all layers, channel 3 a constant
that keeps GroupNorm's scale steady, and the last conv of each half is fitted by least squares.
"""

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder, Encoder
from diffusers.models.downsampling import Downsample2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional as F

CARRIED = 4  # three colours and the constant
CONSTANT = 4.0
CENTER = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


@torch.no_grad()
def start_as_blur(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Overwrite the fresh weights of `vae`; `pictures` (B, 3, H, W) in -1..1 serve to fit the last convs."""
    for half in (vae.encoder, vae.decoder):
        calm_residuals(half)
        carry(half.conv_in, CENTER, 3)
        half.conv_in.weight[3] = 0
        bias_of(half.conv_in)[3] = CONSTANT
        bias_of(half.conv_norm_out).add_(1.5)  # where SiLU is nearly linear
    start_resampling(vae)
    start_quant_convs(vae)
    fit_output_convs(vae, pictures)


def carry(conv: nn.Conv2d, kernel: Tensor, channels: int = CARRIED) -> None:
    """Make output channel i of `conv` a filtered copy of input channel i, for the first few."""
    conv.weight[:channels] = 0
    for channel in range(channels):
        conv.weight[channel, channel] = kernel
    bias_of(conv)[:channels] = 0


def bias_of(layer: nn.Module) -> Tensor:
    """The bias of a layer that has one."""
    return layer.get_parameter("bias")


def calm_residuals(model: nn.Module) -> None:
    """Let residual branches start small and leave the carried channels alone; shortcuts carry them."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and name.endswith(("conv2", "to_out.0")):
            module.weight *= 0.2
            module.weight[:CARRIED] = 0
            bias_of(module)[:CARRIED] = 0
        if isinstance(module, nn.Conv2d) and name.endswith("conv_shortcut"):
            carry(module, torch.ones(1, 1))


def start_resampling(vae: AutoencoderKL) -> None:
    """Halve by the mean of 2 x 2; double by copying and a little smoothing."""
    mean = F.pad(torch.full((2, 2), 0.25), (0, 1, 0, 1))
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    for module in vae.modules():
        if isinstance(module, Downsample2D) and isinstance(module.conv, nn.Conv2d):
            carry(module.conv, mean)
        if isinstance(module, Upsample2D) and isinstance(module.conv, nn.Conv2d):
            carry(module.conv, line[:, None] * line)
            module.conv.weight[3, 3] = CENTER


def start_quant_convs(vae: AutoencoderKL) -> None:
    """Pass the latents on as they are, with small variances: noise would drown the first lessons."""
    for conv in quant_convs(vae):
        conv.weight[:, :, 0, 0] = torch.eye(conv.out_channels)
        bias_of(conv).zero_()
    vae.encoder.conv_out.weight[CARRIED:] *= 0.1
    bias_of(vae.encoder.conv_out)[CARRIED:] = -5.0


def quant_convs(vae: AutoencoderKL) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The two 1x1 convs between encoder and latents, latents and decoder."""
    if vae.quant_conv is None or vae.post_quant_conv is None:
        raise ValueError("this VAE has no quant convs")
    return vae.quant_conv, vae.post_quant_conv


def fit_output_convs(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Let the encoder's last conv give the picture at an eighth, and the decoder's give the picture."""
    features = features_before(vae.encoder, pictures)
    fit(vae.encoder.conv_out, features, F.avg_pool2d(pictures, 8))
    latents = vae.encode(pictures)[0].mean
    features = features_before(vae.decoder, quant_convs(vae)[1](latents))
    fit(vae.decoder.conv_out, features, pictures)


def features_before(half: Encoder | Decoder, inputs: Tensor) -> Tensor:
    """What reaches `half.conv_out` for `inputs`."""
    seen: list[Tensor] = []
    hook = half.conv_out.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    half(inputs)
    hook.remove()
    return seen[0]


def fit(conv: nn.Conv2d, features: Tensor, wanted: Tensor) -> None:
    """Set the first three outputs of `conv` (centre taps and bias) to the best linear map to `wanted`."""
    flat = features.movedim(1, -1).flatten(0, 2)  # (N, C)
    design = torch.cat([flat, torch.ones(len(flat), 1)], dim=1)
    gram = design.T @ design
    ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram))
    solution = torch.linalg.solve(gram + ridge, design.T @ wanted.movedim(1, -1).flatten(0, 2))  # (C + 1, 3)
    conv.weight[:3] = 0
    conv.weight[:3, :, 1, 1] = solution[:-1].T
    bias_of(conv)[:3] = solution[-1]
