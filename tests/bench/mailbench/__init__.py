"""Mail proxies measured side by side: what each costs in CPU and memory, as ratios within one run.

Rule of this package: only what a run started is measured and ended; every sample is refused unless all sessions
signed in, the backend counted as many, and all octets came through unchanged.
"""
