import mdmkit

engine = mdmkit.Engine(mdmkit.compose("info_gain"), mdmkit.load("zoo:puzzles"), slots=8)
first, *later = mdmkit.read_prompts(["_2__/1_2_/2_41/_1__", "7*8=_______", "6*7=_______"], seed=0)

engine.admit(first)
while engine.busy:
    for ended in engine.step():  # one step of every row; returns the rows that ended
        print(f"{ended.row.prompt}  ->  {ended.row.text}")
    if later:
        engine.admit(later.pop(0))  # joins while others are being decoded
