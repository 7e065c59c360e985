"""The verbs of the console, a file each or each group; `console.verb` knows where they are."""
