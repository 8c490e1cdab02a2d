"""mdmkit's samplers inside SGLang: the algorithm `Mdmkit` for `--dllm-algorithm`."""
