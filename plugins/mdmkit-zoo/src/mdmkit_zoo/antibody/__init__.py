"""`zoo:antibody`: the heavy-chain model of Sapiens, converted to a plain transformers directory."""
