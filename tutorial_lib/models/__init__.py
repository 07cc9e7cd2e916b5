"""The networks of the chapters, in Keras alone, without importing TensorFlow."""
