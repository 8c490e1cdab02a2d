mdmkit decode --plugin examples/hooks/stop.py --sampler confidence --set "stop={name: sure_of_the_rest, bar: 0.9}"
