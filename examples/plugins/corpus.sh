mdmkit corpus check web --model zoo:bigram
mdmkit decode --sampler pc --model zoo:bigram --set plan.length=12
