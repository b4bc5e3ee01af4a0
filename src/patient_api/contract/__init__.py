"""Names and formats that the infrastructure, the operations and the functions agree on."""
