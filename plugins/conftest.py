"""The template is tested as a copy of it would be, by tests/test_template.py, and is not installed here."""

collect_ignore = ["template"]
