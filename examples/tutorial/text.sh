mdmkit decode --model zoo:bigram --prompt "the king" --set draw.temperature=1 --seed 1
