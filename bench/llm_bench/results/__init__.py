"""A run on disk: result.json and requests.csv (result), written as far as the disk has room (disk_space)."""
