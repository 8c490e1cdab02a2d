mdmkit decode --plugin examples/hooks/backbone.py --model alphabet --sampler left_to_right
mdmkit decode --plugin examples/hooks/backbone.py --model alphabet --sampler info_gain --prompt "__d___k__"
