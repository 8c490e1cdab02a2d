"""A model that you loaded yourself: wrap it, and call generate as transformers has it."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import mdmkit

MASK = 99
shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
model = LlamaForCausalLM(LlamaConfig(vocab_size=100, is_causal=False, **shape)).eval()  # random weights

wrapped = mdmkit.wrap(model, mask_id=MASK, ends=[2])  # with a tokenizer: mdmkit.wrap(model, tokenizer)

ids = torch.tensor([[5, 6, 7], [0, 0, 8]])
padding = torch.tensor([[1, 1, 1], [0, 0, 1]])
print(wrapped.generate(ids, attention_mask=padding, sampler="info_gain", max_new_tokens=8))

holes = torch.tensor([[5, MASK, MASK, 7]])  # masks among the ids are filled where they stand
print(wrapped.generate(holes, max_new_tokens=0, sampler="confidence", plan={"steps": 1}))

sampler = mdmkit.compose("confidence", plan={"length": 8})
print(mdmkit.decode(sampler, wrapped, [[5, 6, 7]]).nfe)  # a backbone like any other
