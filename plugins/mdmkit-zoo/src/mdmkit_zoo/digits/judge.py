"""A small classifier of digits: it checks that a drawn digit is the requested one, and computes features.

It sees an image as the 8x8 cells of the data. `mdmkit zoo train digits` trains it together with the model, also on
images that are decoded from the model's codes, because these are smoother than the data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mdmkit_zoo.digits.data import CLASSES, Digits

FILE = Path("judge") / "model.safetensors"
SIDE = 8
STEPS, BATCH, RATE, NOISE = 1200, 64, 2e-3, 0.08


class Judge(nn.Module):
    """Three convolutions; images float [B, 1, H, W] in [0, 1] to logits [B, 10]."""

    def __init__(self, width: int = 32, features: int = 64):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * (SIDE // 2) ** 2, features),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(features, len(CLASSES))

    def features(self, images: Tensor) -> Tensor:
        """The input of the last layer, float [B, 64]."""
        return self.body(F.adaptive_avg_pool2d(images, SIDE) * 2 - 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(images)))


def train_judge(shown: Digits, drawn: Tensor, seed: int = 0) -> Judge:
    """Train on images, and on `drawn`, the VQ model's reconstructions in the same order, float [N, 1, H, W]."""
    torch.manual_seed(seed)
    judge = Judge().to(shown.images.device).train()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=0.01)
    images, labels = torch.cat((shown.images, drawn)), shown.labels.repeat(2)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        rows = torch.randint(len(images), (BATCH,), device=images.device)
        batch = F.adaptive_avg_pool2d(images[rows], SIDE)
        batch = _shifted(batch) + NOISE * torch.randn_like(batch)
        loss = F.cross_entropy(judge(batch.clamp(0, 1)), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return judge.eval().requires_grad_(False)


def _shifted(batch: Tensor) -> Tensor:
    """Move each half of the batch by up to one cell in some direction."""
    dy, dx = (int(i) for i in torch.randint(-1, 2, (2,)))
    half = len(batch) // 2
    moved = F.pad(batch[:half], (1, 1, 1, 1))[:, :, 1 + dy : 1 + dy + SIDE, 1 + dx : 1 + dx + SIDE]
    return torch.cat((moved, batch[half:]))


def save_judge(judge: Judge, folder: Path, shown: Digits) -> None:
    """Write the weights, and the mean and covariance of the features of real digits beside them."""
    with torch.no_grad():
        features = judge.features(shown.images).double().cpu()
    (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.cpu().contiguous() for name, value in judge.state_dict().items()}, folder / FILE)
    known = {"mean": features.mean(0), "covariance": features.T.cov()}
    save_file(known, folder / FILE.parent / "real.safetensors")


def load_judge(folder: Path | None = None) -> Judge:
    """The judge of `zoo:digits`, or of a directory that `mdmkit zoo train digits` wrote."""
    from mdmkit_zoo.catalogue import ENTRIES

    judge = Judge()
    judge.load_state_dict(load_file((folder or ENTRIES["digits"].folder) / FILE))
    return judge.eval().requires_grad_(False)


def tensor_of(images: list[Any]) -> Tensor:
    """Grey PIL images as float [B, 1, H, W] in [0, 1]."""
    import numpy as np

    return torch.from_numpy(np.stack([np.asarray(image, dtype=np.float32) for image in images]))[:, None] / 255
