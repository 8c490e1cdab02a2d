"""`zoo:digits`: handwritten digits, and the recipes that made the model and its judge."""
