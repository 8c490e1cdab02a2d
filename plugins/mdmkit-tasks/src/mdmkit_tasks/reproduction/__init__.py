"""`mdmkit reproduce`: a paper's experiments, their cost, and which of them this machine can run."""
