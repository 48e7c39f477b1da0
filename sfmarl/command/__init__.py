"""The command line and launch scripts: words in, a call, an exit code out."""
