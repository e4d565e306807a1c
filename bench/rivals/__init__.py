"""Services with conventional designs, to compare the product with."""
