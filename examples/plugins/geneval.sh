mdmkit image geneval --model zoo:digits --sampler halton --metadata examples/plugins/geneval.jsonl --output images --samples 2
