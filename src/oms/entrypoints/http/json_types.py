"""The types of JSON values from which the shapes of requests and responses are made."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from oms.domain.commands import MAX_CARRIER, MAX_REASON
from oms.domain.lines import MAX_NAME
from oms.domain.values import ID_PATTERN, MAX_LINES, MAX_PART_ID, MAX_QUANTITY

Id = Annotated[str, Meta(pattern=ID_PATTERN, description="1 to 64 of `A-Z a-z 0-9 . _ : -`")]
PartId = Annotated[
    str,
    Meta(
        pattern=ID_PATTERN.replace("64", str(MAX_PART_ID)),
        description="A refund's id, or `whole` for the refund of a cancelled order",
    ),
]
Amount = Annotated[float, Meta(ge=0, description="A number in major units of the currency, no finer; read exactly")]
"""This type is only documented. The code reads and writes decimals: no amount is ever a float."""

Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
Items = Annotated[
    dict[Id, Quantity],
    Meta(min_length=1, max_length=MAX_LINES, description="Units of each product"),
]
Text = Annotated[str, Meta(pattern=r"^[^\x00]*$", description="Text without U+0000")]
Metadata = Annotated[dict[Text, Text], Meta(description="Your own text, at most 4 KiB, kept with the order")]


def _text(longest: int) -> Meta:
    described = f"1 to {longest} characters, no U+0000"
    return Meta(min_length=1, max_length=longest, pattern=r"^[^\x00]*$", description=described)


Name = Annotated[str, _text(MAX_NAME)]
Label = Annotated[str, _text(MAX_CARRIER)]
Reason = Annotated[str, _text(MAX_REASON)]


class Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    """A JSON object with camelCase names."""
