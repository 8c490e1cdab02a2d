mdmkit decode --model zoo:digits --sampler halton --prompt 3 --output three.png
