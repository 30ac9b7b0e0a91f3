"""What a registry does: pull, push, browse, delete. Knows no HTTP and no SQL."""
