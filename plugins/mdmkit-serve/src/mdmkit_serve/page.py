"""The page at `/`: one HTML file with its own script and style, which asks this server and nobody else."""

from __future__ import annotations

from importlib import resources

PAGE = resources.files("mdmkit_serve").joinpath("page.html").read_text(encoding="utf-8")
# The page runs its own script only, asks its own server only, and cannot be framed by another site.
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
