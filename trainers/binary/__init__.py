"""What a 1-bit layer is: bits, weight stores, the product with binary operands, layers. Knows torch only."""
