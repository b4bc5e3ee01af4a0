"""Facts that the functions, the infrastructure, the operations and the lint rules share, each written once.

The package has no dependencies. Every package of the project may import it, and it ships in the Lambda package.
"""
