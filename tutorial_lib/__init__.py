"""The helper library of the fully convolutional network tutorials.

Importing it is cheap: TensorFlow is loaded only where it is needed.
"""

import os

# TensorFlow reads this when it is first imported. Its start-up notes would otherwise
# stand as red text above the first result of every notebook.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

__version__ = "0.1.0"
