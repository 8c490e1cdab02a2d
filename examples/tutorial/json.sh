mdmkit decode --prompt "7*8=_______" --json
