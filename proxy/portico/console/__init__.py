"""What an operator says to a running proxy: the verbs, over SSH and over a unix socket."""
