"""The ``file`` scheme: real files of the operating system, written whole or not at all."""
