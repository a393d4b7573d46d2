"""The house rules that no tool knows, judged on the source itself."""
