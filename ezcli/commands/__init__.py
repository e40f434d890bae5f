"""The implementation of each command of `ez`. Options and help are in `ezcli.cli`."""
