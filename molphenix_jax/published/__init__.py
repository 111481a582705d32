"""Public benchmarks on their own files, beside what others published (docs/public.md)."""
