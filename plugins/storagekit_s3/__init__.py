"""The S3 driver of storagekit: ``driver.S3Driver`` holds its hooks, ``api`` the port through which it speaks to S3."""

import logging

# Quiet until the program sets logging up, as the core is.
logging.getLogger(__name__).addHandler(logging.NullHandler())
