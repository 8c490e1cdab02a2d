mdmkit show info_gain
mdmkit show info_gain --set select.candidates=4
