"""POST /v1/stream/ticket: a key becomes a ticket, with which a page can open a stream."""

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from service.access.ticket import LIFETIME_S
from service.api.door import Door

TICKET_PATH = "/v1/stream/ticket"


class TicketAnswer(BaseModel):
    """What is put into the address of the WebSocket, as `?ticket=…`."""

    ticket: str
    expires_in_s: int = Field(description="It opens streams until then; one that is open stays so.")


class TicketRoute:
    """The endpoint."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def issue(self, request: Request) -> Response:
        """For whoever may detect. A service without keys asks for no ticket, but gives one."""
        answer = TicketAnswer(ticket=self._door.ticket(request), expires_in_s=LIFETIME_S)
        headers = {"Cache-Control": "no-store"}
        return Response(answer.model_dump_json(), headers=headers, media_type="application/json")
