"""Images in, boxes out: the part that training and serving share. A leaf: NumPy, OpenCV, Pillow, simplejpeg; no I/O."""
