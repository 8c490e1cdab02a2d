"""`mdmkit reproduce`: a paper's experiments, what they cost, and those of them that this machine can run."""
