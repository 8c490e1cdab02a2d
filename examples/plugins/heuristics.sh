mdmkit decode --sampler threshold --set select.threshold=0.7
mdmkit decode --sampler confidence --set select.temperature=0.2 --seed 3
mdmkit decode --sampler random --set draw.temperature=1 --seed 3
