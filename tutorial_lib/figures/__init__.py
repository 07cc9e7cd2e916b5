"""Figures, animations and widgets: one palette, and alt text for every figure."""
