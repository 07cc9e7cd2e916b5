"""What runs, checks, reports on and publishes the notebooks; the library never imports it."""
