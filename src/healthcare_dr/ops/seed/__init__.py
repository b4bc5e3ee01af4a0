"""`hdr seed`: fictitious patients and documents, loaded through the API of both regions."""
