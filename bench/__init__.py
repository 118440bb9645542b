"""davstore beside the other servers of its field, in one run on one machine.

Only ratios of one run mean anything: the load generator shares the machine with the servers.
"""
