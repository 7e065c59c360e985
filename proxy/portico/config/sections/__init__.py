"""Sections of the settings that have grown: a file each. `config.settings` puts them together."""
