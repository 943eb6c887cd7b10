"""Import of published weights, without executing anything in their files, and export to other formats."""
