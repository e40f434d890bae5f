"""What each command of `ez` does; their options and help are in `ezcli.cli`."""
