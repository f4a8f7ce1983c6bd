"""The REST interface: one file a subject, each of which reads a request, asks the station, and answers."""
