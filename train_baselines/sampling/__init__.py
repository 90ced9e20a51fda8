"""Answers drawn and scored: one policy, many prompts."""
