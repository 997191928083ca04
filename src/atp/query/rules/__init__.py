"""Pure rules of reading: the search language, what matches, which words a record has, how a record is shown."""
