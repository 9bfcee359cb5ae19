"""`yolov7-service camera`: a camera, a video or pictures through the service, for machines that serve nothing.

source.py      what can be watched, and how it is named without its password
shot.py        one frame, and the two kinds of picture in it
video.py       frames out of whatever PyAV reads
folder.py      pictures as files
pace.py        which frames are taken, and when
handover.py    from the thread that reads to the loop that sends
capture.py     the thread that reads, and comes back to a camera that was lost
sending.py     the stream to the service, opened again where it was lost; pending.py: the frames on it
events.py      what became of frames
tally.py       the numbers of a run; ages.py and rate.py are its parts
view.py        the terminal
outputs.py     what is written: jsonl.py, mp4.py, coco.py, annotated.py
run.py         all of it together
command.py     what the flags ask for; flags.py: which there are

Of the service it needs the client and `vision` only. Nothing is imported here.
"""
