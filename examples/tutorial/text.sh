mdmkit decode --model zoo:bigram --set draw.temperature=1 --seed 1
