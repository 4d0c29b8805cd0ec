#!/usr/bin/env bash
# transformers 5.23.0: CLIPModel.get_image_features returns an object, and [0] of it is no longer
# the vector of the first image.
#
# Expected: a tensor of shape (images, projection_dim), as in 4.57.1, so that features[0] is
#   the vector of the first image.
# Happens: 5.23.0 returns a BaseModelOutputWithPooling. features[0] is the last hidden state of
#   all images and patches before the projection. features.norm raises, so CLIPScore of
#   torchmetrics 1.9.0 raises AttributeError for every input.
# Matters: CLIP features are the usual judge of generated images. Code that takes
#   features[0] goes on with the patch states of all images, unprojected, and a mean or
#   cosine of them is still a number.
# Instead: take features.pooler_output where it exists, and check the shape.
#
# Output seen when this was written:
#   4.57.1: Tensor, [0] has shape (8,), norm works True
#   5.23.0: BaseModelOutputWithPooling, [0] has shape (2, 5, 16), norm works False
#   5.23.0: pooler_output has shape (2, 8)
#   torchmetrics 1.9.0 CLIPScore raises AttributeError
#     'BaseModelOutputWithPooling' object has no attribute 'norm'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0 torchmetrics==1.9.0 numpy==2.4.6
"$work/venv/bin/pip" install -qq --disable-pip-version-check --target "$work/old" \
  transformers==4.57.1 numpy==2.4.6
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HOME="$work/hf" TRANSFORMERS_VERBOSITY=error
cd "$work"
cat >run.py <<'EOF'
import torch
import transformers
from transformers import CLIPConfig, CLIPModel

new, version = transformers.__version__ == "5.23.0", transformers.__version__
sizes = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
text = {**sizes, "vocab_size": 100, "bos_token_id": 0, "eos_token_id": 3}
vision = {**sizes, "image_size": 8, "patch_size": 4}
model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
with torch.no_grad():
    features = model.get_image_features(torch.zeros(2, 3, 8, 8))
norm, first = hasattr(features, "norm"), tuple(features[0].shape)
print(f"{version}: {type(features).__name__}, [0] has shape {first}, norm works {norm}")
assert first == ((2, 5, 16) if new else (8,))
assert norm != new
if new:
    from torchmetrics.multimodal.clip_score import CLIPScore

    print(f"{version}: pooler_output has shape {tuple(features.pooler_output.shape)}")

    def processor(text=None, images=None, **_):
        if images is not None:
            return {"pixel_values": torch.stack(images).float()}
        ids = torch.tensor([[0, 40, 3]] * len(text))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    score = CLIPScore(lambda: (model, processor))
    try:
        score.update(torch.zeros(3, 8, 8), "a cat")
        raised = False
    except AttributeError as error:
        raised = True
        print("torchmetrics 1.9.0 CLIPScore raises AttributeError")
        print(f"  {error}")
    assert raised
EOF
PYTHONPATH="$work/old" "$work/venv/bin/python" -W ignore run.py
"$work/venv/bin/python" -W ignore run.py
