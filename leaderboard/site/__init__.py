"""What is shown in a browser: pure functions from figures to HTML and SVG, and their templates."""

from __future__ import annotations
