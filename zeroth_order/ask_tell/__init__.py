"""What `Search` and `minimize` are made of: runs between ask and tell, and how f is called."""
