mdmkit decode --model zoo:bigram --prompt "in the beginning" --set plan.length=8 --set "constraint={name: regex, pattern: '.{32}'}"
mdmkit decode --model zoo:bigram --prompt "the _ said" --set "constraint={name: choices, of: [king, priest, queen]}"
mdmkit decode --prompt "3*4=_____" --set "constraint={name: regex, pattern: '[1-9][0-9],+', mode: mask}" --set plan.tokens_per_step=2
mdmkit decode --prompt "_________" --set "constraint={name: grammar, grammar: examples/plugins/sums.lark}"
mdmkit decode --prompt "3*4=_____" --set "constraint={name: tokens, allowed: ['1', '2', 5]}" --set draw.temperature=1
mdmkit decode --model zoo:bigram --prompts examples/plugins/rules.jsonl --set constraint=by_prompt
