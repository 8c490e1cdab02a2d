import mdmkit

sampler = mdmkit.compose("info_gain", plan={"tokens_per_step": 2})
backbone = mdmkit.load("zoo:puzzles")
prompts = ["_2__/1_2_/2_41/_1__", "7*8=_______"]
decoded = mdmkit.decode(sampler, backbone, prompts, seed=0)

for row in decoded.rows:
    print(f"{row.prompt}  ->  {row.text}")
    print(f"cumulative uncertainty {row.uncertainty:.3f} nats, {row.nfe} row-forwards")
