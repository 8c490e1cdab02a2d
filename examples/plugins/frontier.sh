mdmkit decode --sampler threshold --set select.threshold=0.7 --set select.frontier=8
