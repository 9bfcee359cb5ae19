"""One picture in, its detections out: the one path that every transport takes."""

from service.detector.detector import Detected, Detector
from service.detector.places import Place
from service.detector.preparation import ImageLimits, Picture
from service.detector.source import CacheResult, Caching, Served

__all__ = ["CacheResult", "Caching", "Detected", "Detector", "ImageLimits", "Picture", "Place", "Served"]
