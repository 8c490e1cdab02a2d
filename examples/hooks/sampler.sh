mdmkit decode --config examples/hooks/sampler.yaml
mdmkit decode --plugin examples/hooks/sampler.py --sampler bold_margin --set select.temperature=0
