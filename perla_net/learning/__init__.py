"""Networks over flat vectors, action distributions, policy embedding."""
