"""The model's own modules, frozen: the same answers and gradients in less time and memory.

`make_lean` is called once when a model is loaded; whoever uses the model knows nothing of it. Each piece
falls back to the library's own way where it does not apply (weights that learn, hooks on a norm, a model
that torch compiles).
"""
