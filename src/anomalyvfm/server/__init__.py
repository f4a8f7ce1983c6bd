"""The inspection station: judge images over HTTP, keep what was judged, learn from review.

Arrows go one way: ``api`` and ``pages`` speak to the :class:`~anomalyvfm.server.station.Station`; the station
owns the store (``store``), the models (``models``), the queue in front of them (``inspections``) and the
workers that decode (``decoding``). Nothing but ``models``, ``inspections`` and ``review`` sees a detector.
"""
