import mdmkit
from mdmkit_zoo.digits.judge import load_judge, tensor_of

model = mdmkit.load("zoo:digits", device="cpu")
sampler = mdmkit.compose("info_gain", plan={"steps": 8, "schedule": "cosine"}, draw={"temperature": 1.0})
drawn = mdmkit.decode(sampler, model, ["3", "7"], seed=1)
for row, seen in zip(drawn.rows, load_judge()(tensor_of(drawn.texts)).argmax(1).tolist(), strict=True):
    print(
        f"asked for {row.prompt}, the judge sees {seen}: {row.text.size[0]} x {row.text.size[1]} pixels, NFE {row.nfe}"
    )
