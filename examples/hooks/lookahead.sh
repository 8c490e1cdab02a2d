mdmkit decode --plugin examples/hooks/lookahead.py --sampler info_gain --set lookahead=weakest_link
