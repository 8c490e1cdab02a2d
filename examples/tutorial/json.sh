mdmkit decode --prompt "12*7=__________" --json
