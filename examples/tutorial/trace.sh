mdmkit decode --sampler info_gain --prompt "_*_=_______" --trace info_gain.json
mdmkit decode --sampler confidence --prompt "_*_=_______" --trace confidence.json
mdmkit trace info_gain.json confidence.json --output traces.html
