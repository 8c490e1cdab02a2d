"""Serve a masked diffusion model over HTTP, in the form of OpenAI's API. Everything is reached through the command."""
