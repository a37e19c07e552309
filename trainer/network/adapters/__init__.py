"""What a LoRA adds to one module, one class per algorithm (see `build.make_adapter`)."""
