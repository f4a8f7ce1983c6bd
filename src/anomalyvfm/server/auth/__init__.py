"""Who may do what: accounts, sessions, and the gate in front of every route."""
