"""The routes of the server, what they take and what they answer."""
