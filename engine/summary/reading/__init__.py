"""Reading documents: files and pasted text in, `Document`s out, in a child process that may break without harm.

Knows file formats; knows no model, no database and no page.
"""
