"""What is done to whole recordings: merge, split, edit, annotate, show, push and pull.

Nothing here changes what it reads, but for annotations: what is made is written beside its place
and renamed once it is whole, and nothing that is there is overwritten.
"""
