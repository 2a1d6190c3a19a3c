"""Who may use the server, and how much: keys, tokens and quotas."""
