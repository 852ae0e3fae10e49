"""The embedded demo chat model and the code that trained it."""
