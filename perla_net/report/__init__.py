"""``python -m perla_net.report RUN…|STUDY -o report.html``: what runs learnt, sent and cost, as one page and as files.

``groups`` puts runs together that differ only in their seed; ``figures`` and ``tables`` work out what is shown, as plain
numbers; ``drawing`` gives these to Plotly, to matplotlib and to CSV files; ``page`` writes the page.
"""
