"""``python -m perla_net.report RUN…|STUDY -o report.html``: what runs learnt, sent and cost, as one page and as files.

``groups`` puts runs together that differ only in their seed; ``figures`` and ``tables`` work out what is shown, as plain
numbers, ``overview`` what stands on the first screen, ``content`` what there is in which order. ``packing`` makes data of figures,
``screen`` and ``page`` write the page, whose script draws; ``drawing`` gives the same figures to matplotlib and to CSV files.
"""
