mdmkit decode --prompt "7*8=_______" --prompt "3,8,7>12:___=__,___0_=__"
mdmkit decode --prompts examples/tutorial/puzzles.jsonl --seed 1
