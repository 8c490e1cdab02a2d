# Four GPUs of one machine, a process for each.
for i in 1 2 3 4; do
  CUDA_VISIBLE_DEVICES=$((i - 1)) mdmkit decode --prompts prompts.jsonl --batch 16 --resume \
    --shard "$i/4" --output "part-$i.jsonl" &
done
wait
mdmkit join part-[1-4].jsonl --output all.jsonl
