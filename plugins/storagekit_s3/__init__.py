"""The S3 driver of storagekit: ``driver.S3Driver`` holds its hooks, ``api`` the port through which it speaks to S3."""
