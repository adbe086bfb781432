"""The rows of the table, as factories whose keyword arguments are a method's hyper-parameters."""
