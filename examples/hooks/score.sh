mdmkit decode --plugin examples/hooks/score.py --sampler confidence --set score=neighbours
mdmkit decode --plugin examples/hooks/score.py --sampler info_gain --set score.name=neighbours --set score.bonus=0.05
