"""What the runtimes are built on: processes, namespaces, cgroups, privileges and the NVIDIA driver of a Linux host."""
