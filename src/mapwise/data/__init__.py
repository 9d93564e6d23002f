"""Raw things, read one way: files, tables, pictures, and the data sets made of them."""
