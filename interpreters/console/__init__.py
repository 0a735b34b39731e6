"""The text front end of ``interpreters.stepping``: a session, its commands, what they show, and the shell that reads them."""
