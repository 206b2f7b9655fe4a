"""A page to try networks in, with photographs and videos: `engine.py` predicts, `page.py` is what is seen of it."""
