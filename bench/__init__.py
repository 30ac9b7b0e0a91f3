"""Where speed stands: Moorage and its peers side by side on one machine, in one run (`python -m bench --help`)."""
