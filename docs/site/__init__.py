"""Builds the documentation site: pages made from the code, links to the repository, equations."""
