"""The command lines: `hrnet-tf COMMAND`, and the tools of a checkout, which start the same."""
