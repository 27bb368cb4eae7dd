"""Built-in architectures: models from float (N, ...) to logits (N, classes).

Images (N, channels, height, width) are pixels / 255 in [0, 1]: no model normalises by mean and deviation. Every factory takes
the `input_shape` of one input, for instance (channels, height, width), and the number of `classes`, at least 2. It raises an
OptionError for inputs that it cannot take.
"""
