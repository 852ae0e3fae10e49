"""What every process of Baton shares. Imports none of the other packages."""

__version__ = "0.1.0"
