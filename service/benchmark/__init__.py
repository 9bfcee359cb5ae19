"""`yolov7-service bench`: how fast a running service answers, measured from outside with Grafana k6.

k6 is a program of its own (AGPL): it is found on the PATH and called, never imported. load.js is all it is given.

pictures.py    what is posted: files, or generated pictures; never the same bytes twice
load.py        what one step offers: clients that take turns, or requests that come at a rate
target.py      the service: asked once before it is measured, and what it says of itself
k6.py          one step: k6 is started, watched and ended
figures.py     what k6 counted in it
knee.py        which rate to offer next, and the largest that held
run.py         the steps of a run, one after the other
view.py        the terminal; plot.py: the chart; report.py: the JSON
command.py     what the flags ask for; flags.py: which there are

Of the service it needs the client only. Nothing is imported here.
"""
