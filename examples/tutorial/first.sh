mdmkit decode
