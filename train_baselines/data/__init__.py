"""What is trained on: files to records, records to token ids, batches and masks."""
