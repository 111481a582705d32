"""Tables of any file people have: streams of rows, columns by alias, names as they are compared."""
