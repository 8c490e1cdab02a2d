"""Which of several texts does a model find the likeliest? No token is written."""

import mdmkit

model = mdmkit.load("zoo:bigram")
options = [
    " created the heavens and the earth , and it was good .",
    " was the good and the earth created heavens it , and .",
    " and",
]

choice = mdmkit.choose(model, "in the beginning god", options, per="token")
print(choice.option)

for option, found in zip(options, choice.likelihoods, strict=True):
    print(f"{found.value:7.2f} ± {found.error:.2f} nats  {option}")
