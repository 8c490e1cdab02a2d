"""A checkpoint of your own: any of transformers' masked language models, in a directory."""

import tempfile

from transformers import BertConfig, BertForMaskedLM

import mdmkit

with tempfile.TemporaryDirectory() as folder:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertForMaskedLM(BertConfig(vocab_size=30, **shape)).save_pretrained(folder)  # random weights, no tokenizer

    backbone = mdmkit.load(folder, mask_id=29)
    sampler = mdmkit.compose("confidence", plan={"length": 6})
    decoded = mdmkit.decode(sampler, backbone, [[5, 7, 9], [5, 29, 29, 9]])
    print(decoded.tokens)  # six tokens after the first prompt; the second, which holds masks, filled
