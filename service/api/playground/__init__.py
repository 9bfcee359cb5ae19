"""The pages that the service shows to people: the playground at / and the reference of the API at /docs.

They are files in this folder, read once and answered from memory; nothing in them comes from anywhere else.
"""

from service.api.playground.site import add_pages

__all__ = ["add_pages"]
