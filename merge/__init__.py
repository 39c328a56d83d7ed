"""What happens when the arrays are done: partials become results, results become the report."""
