"""The inspection station: judge images over HTTP, keep what was judged, learn from review.

Arrows go one way: ``api`` and ``pages`` speak to the :class:`~anomalyvfm.server.station.Station`; the station
owns the store (``store``), the models (``shelf``), the queue in front of them (``batching``) and the decoding
workers (``decoding``). Nothing outside ``shelf``, ``learning`` and ``batching`` sees a detector.
"""
