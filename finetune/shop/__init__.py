"""The generator of the drawn sample shop, with the law behind its users' choices."""
