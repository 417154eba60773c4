"""Tasks from the files of other schedulers, and from and to files of our own."""
