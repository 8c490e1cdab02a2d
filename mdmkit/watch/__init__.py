"""Watching a decode while it runs, and looking at it again."""
