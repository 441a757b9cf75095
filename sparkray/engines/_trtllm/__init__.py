"""What the TensorRT-LLM engine is made of: options, features, command, dataset; report, requests, log, iterations.

Every function here is pure (text or bytes in, values out) but `shipping`, which reads files of this package.
"""
