"""How fast, in how much memory, and how near to the floor: whole processes beside peers', in turn."""
