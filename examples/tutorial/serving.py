import asyncio

import mdmkit

engine = mdmkit.Engine(mdmkit.compose("info_gain"), mdmkit.load("zoo:puzzles"), slots=8)


async def answer(front, prompt, after):
    await asyncio.sleep(after)  # this prompt arrives later: its row joins the rows at work
    row = await front.generate(prompt, timeout=60)
    print(f"{row.prompt}  ->  {row.text}")


async def answers(front):
    prompts = mdmkit.read_prompts(["_2__/1_2_/2_41/_1__", "7*8=_______", "6*7=_______"], seed=0)
    await asyncio.gather(*(answer(front, prompt, 0.01 * n) for n, prompt in enumerate(prompts)))


with mdmkit.AsyncEngine(engine) as front:
    asyncio.run(answers(front))
