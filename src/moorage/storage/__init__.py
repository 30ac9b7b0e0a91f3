"""Where bytes live: blobs by digest, staged uploads, and the link files of the classic layout."""
