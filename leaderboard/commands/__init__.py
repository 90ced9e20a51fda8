"""One module a command: a dataclass whose fields are the flags, and `run`, which prints."""
