mdmkit decode --prompt "12*7=__________" --prompt "3,4,7>25:___=__,_____=__"
mdmkit decode --prompts examples/tutorial/puzzles.jsonl --seed 1
