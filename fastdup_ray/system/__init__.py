"""What this machine and this process have: cores, memory, GPUs, signals, standard streams."""
