mdmkit decode --plugin examples/hooks/engine.py --engine processes --engine-option workers=2 --sampler confidence
