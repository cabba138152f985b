"""Short programs to copy: what the commands do, in a few lines of Python."""
