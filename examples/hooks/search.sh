mdmkit decode --plugin examples/hooks/search.py --sampler confidence --set search=calmest --set draw.temperature=1 \
    --prompt "7*8=_______"
