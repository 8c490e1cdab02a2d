mdmkit eval --task sudoku4 --sampler info_gain --limit 4 --seeds 2 --output build/eval --overwrite
mdmkit compare --samplers confidence,random --tasks one_way --limit 3 --seeds 2 --output build/compare --overwrite
