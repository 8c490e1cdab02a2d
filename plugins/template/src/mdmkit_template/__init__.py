"""A plugin for mdmkit to copy."""
