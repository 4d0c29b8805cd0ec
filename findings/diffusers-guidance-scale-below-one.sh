#!/usr/bin/env bash
# diffusers 0.42.0: StableDiffusionPipeline with guidance_scale=0 draws the fully
# conditioned image.
#
# Expected: the formula uncond + scale * (cond - uncond) gives the unconditional image
#   at 0 and a mixture at 0.5.
# Happens: at any scale up to 1 guidance is switched off and only the conditioned output
#   is used, so 0, 0.5 and 1 draw the same image. The negative prompt is ignored there
#   too, with no message.
# Matters: a sweep of guidance from 0 upwards tests whether a forgotten concept comes
#   back with stronger conditioning. Its first points are the conditioned model, not the
#   unconditional one, and a baseline "without prompt" at scale 0 is none.
# Instead: for the unconditional image pass the empty prompt at guidance_scale=1.
#
# Output seen when this was written:
#   torch 2.13.0+cpu diffusers 0.42.0 transformers 5.23.0
#   largest change of the latents
#   scale 0: 0.00 from conditioned, 2.65 from unconditional, 0.00 by another negative prompt
#   scale 0.5: 0.00 from conditioned, 2.65 from unconditional, 0.00 by another negative prompt
#   scale 1: 0.00 from conditioned, 2.65 from unconditional, 0.00 by another negative prompt
#   scale 2: 2.66 from conditioned, 5.31 from unconditional, 1.90 by another negative prompt
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 diffusers==0.42.0 transformers==5.23.0 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
export DIFFUSERS_VERBOSITY=error TRANSFORMERS_VERBOSITY=error
export HF_HUB_DISABLE_PROGRESS_BARS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("torch", "diffusers", "transformers")))

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=8,
    block_out_channels=(32,),
    down_block_types=("CrossAttnDownBlock2D",),
    up_block_types=("CrossAttnUpBlock2D",),
    cross_attention_dim=16,
    attention_head_dim=2,
).eval()
scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
pipeline = StableDiffusionPipeline(
    AutoencoderKL(), None, None, unet, scheduler, None, None, requires_safety_checker=False
)
pipeline.set_progress_bar_config(disable=True)
prompt, empty, negative = torch.randn(3, 1, 7, 16)


def draw(scale, positive=prompt, other=empty):
    return pipeline(
        prompt_embeds=positive,
        negative_prompt_embeds=other,
        guidance_scale=scale,
        num_inference_steps=4,
        height=8,
        width=8,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).images


conditioned, unconditional = draw(1), draw(1, positive=empty)
print("largest change of the latents")
for scale in (0, 0.5, 1, 2):
    image = draw(scale)
    off = (image - conditioned).abs().max().item(), (image - unconditional).abs().max().item()
    swap = (draw(scale, other=negative) - image).abs().max().item()
    print(
        f"scale {scale}: {off[0]:.2f} from conditioned, {off[1]:.2f} from unconditional, "
        f"{swap:.2f} by another negative prompt"
    )
    assert (off[0] == 0) == (scale <= 1)
    assert off[1] > 0
    assert (swap == 0) == (scale <= 1)
EOF
