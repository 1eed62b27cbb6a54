"""Pure mathematics of the models: tensors in, tensors out, no Graph."""
