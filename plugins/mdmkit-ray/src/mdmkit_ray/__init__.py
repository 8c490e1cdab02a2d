"""Decode many prompts on many machines, with Ray. Everything is reached through the engine `ray`."""
