"""Fair order, the threads that touch a model, and the async door to them."""
