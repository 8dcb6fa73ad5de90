"""A simulator of S3 with real latency and real bandwidth, so that anybody can measure the same thing anywhere.

    python -m benchmarks.simulator FOLDER --listen raw --listen wan

The folders in FOLDER are buckets, and the files in them objects. Every ``--listen`` is a port with a profile of its own
(``profiles``); all ports show the same objects. It prints one line of JSON with their addresses and runs until its
standard input ends.

It must not be what is measured, and Python is not fast: so Python is kept out of the way of the bytes. A thread per
connection parses a request by hand, sleeps for as long as the profile says (``shaping``), and gives the range to
``sendfile``; the kernel copies it and keeps the connection's rate. What costs Python is the request, not the byte.
``python -m benchmarks.limits`` measures where that ends.

Every request draws the next delay of one seeded sequence, and ``reset`` begins it again: all peers meet the same
network. Signatures are accepted unchecked, and nothing is versioned. It is no server to test a client against.
"""
