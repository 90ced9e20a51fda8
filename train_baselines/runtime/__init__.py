"""What every trainer shares and no method is about: settings, devices, batches, checkpoints, logs."""

from __future__ import annotations
