"""The helper library of the fully convolutional network tutorials.

Importing it is cheap: TensorFlow is loaded only where it is needed.
"""

__version__ = "0.1.0"
