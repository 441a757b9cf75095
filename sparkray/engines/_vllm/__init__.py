"""Parts of the `vllm` engine: its options, the command of its offline benchmark, what that leaves, and its simulator."""
