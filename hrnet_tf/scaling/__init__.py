"""Pictures by the million: parts of a set, predicted one after the other here or by actors of a Ray cluster.

`parts` finds what a set consists of, `reading` gives the pictures of a part, `worker` predicts them, `rows` writes
them, `jobs` keeps what a folder's parts were made with, `cluster` shares them out. Needs the extra `ray`.
"""
