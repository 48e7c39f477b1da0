"""The parts of `sfmarl check-env` (envs/check.py): what they look for, and the sentences they say."""
