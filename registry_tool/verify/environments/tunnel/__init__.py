"""The one door of a clean engine: a program inside its network, our own end of it, and what both ends are made of."""
