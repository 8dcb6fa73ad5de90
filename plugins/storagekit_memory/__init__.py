"""The ``memory`` scheme: an object store that lives in one ``Storage`` and ends with it."""
