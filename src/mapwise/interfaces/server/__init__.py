"""An HTTP server that keeps predictors in a folder, changes them and answers by them."""
