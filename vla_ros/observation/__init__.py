"""From samples of single sensors to one observation: alignment, images, windows, rates."""
