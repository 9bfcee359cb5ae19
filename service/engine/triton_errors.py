"""What a Triton server's errors mean to the service."""

from service.errors import DeadlineExceeded, EngineDown, EngineFailed, Overloaded


class ModelAbsent(EngineFailed):
    """This server does not have the model version ready."""


class ModelDead(EngineFailed):
    """The process behind the model version has died, while the server still calls it ready."""


class EngineSilent(EngineFailed):
    """It has not answered in time."""


class LoadRefused(EngineFailed):
    """It cannot load a model as things are there; its files, its device or its memory may be put right."""


class RegionUnknown(EngineFailed):
    """The server does not know the shared memory, as after a restart."""


def meaning(status: str, text: str) -> EngineFailed | Overloaded | DeadlineExceeded:
    """Triton says the same status for many things, so that its words must be read."""
    if status == "DEADLINE_EXCEEDED" or "Request timeout expired" in text:
        return DeadlineExceeded("the deadline passed before the engine answered")
    if "Exceeds maximum queue size" in text:
        return Overloaded("the engine's queue is full")
    if "unknown model" in text:
        return ModelAbsent("the engine does not have the model loaded")
    if "is not healthy" in text:
        return ModelDead("the model's process has died")
    if "Unable to find shared memory region" in text:
        return RegionUnknown("the engine does not know the shared memory")
    if status == "UNAVAILABLE":
        return EngineDown("the engine cannot be reached")
    return EngineFailed("the engine could not do what it was asked")
