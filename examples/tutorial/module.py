"""Any module that maps ids to logits, whatever its code: here one that speaks of the next position, as Dream does."""

import torch
from torch import nn

import mdmkit


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(32, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 32)

    def forward(self, ids, attention_mask=None):
        padding = None if attention_mask is None else attention_mask == 0
        return self.head(self.layer(self.embed(ids), src_key_padding_mask=padding))


wrapped = mdmkit.wrap(Mine().eval(), mask_id=31, shift=True)
print(wrapped.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=6, sampler="confidence", do_sample=True, seed=1))
