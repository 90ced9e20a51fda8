"""Readable baselines: one method, one file; data in, a checkpoint out."""

from __future__ import annotations
