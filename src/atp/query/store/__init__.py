"""The tables of the search model and every statement that touches them."""
