"""Rows of a listing as they are kept: in the very words in which they go out.

A resource is kept as two JSON documents: its summary, as Bedrock's listings write it, and the rest.
A page of a listing takes the summaries as they are, instead of decoding and encoding every row.
"""

Listed = tuple[int, str]
"""Its time in the listing, in microseconds, which no other row of the listing has; its summary.

A row as the engine gives it: to make a record of each costs a tenth of reading the page.
"""
